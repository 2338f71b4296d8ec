--- Limits the length of the whole gradient: optim.clip_grad_norm_(model:parameters(), 1.0) -> norm before.
local autograd = require "mosaic.autograd"
local check = require "mosaic.check"
local scope = require "mosaic.tensor.scope"
local cat = require("mosaic.tensor.join").cat

local HALVES = { f16 = true, bf16 = true } -- whose norms would have a half's few digits
local TINY, HUGE = 1e-15, 1e15             -- norms between have squares that f32 has room for

--- One gradient's norm as an f64 tensor (1); wide: from squares in f64.
local function norm_of(grad, wide)
  if wide or HALVES[grad.dtype] then grad = grad:to "f64" end
  return grad:norm():to("f64"):view(1)
end

--- The norm of all gradients. Devices are waited for once.
local function total_norm(params, wide)
  local norms, total = {}, 0
  for _, p in ipairs(params) do
    if p.grad then norms[#norms + 1] = norm_of(p.grad, wide) end
  end
  for _, norm in ipairs(#norms > 0 and cat(norms, 1):flat() or norms) do total = total + norm * norm end
  return math.sqrt(total)
end

local function scale(params, factor)
  for _, p in ipairs(params) do
    if p.grad then p.grad:mul_(factor) end
  end
end

--- Scales the gradients in place by min(1, max_norm / (norm + 1e-6)); returns the norm before. When they
-- have been summed over the ranks (mosaic.sync_gradients), that is the global norm on every rank.
-- A norm that is not finite is an error: scaling would spread it to every parameter.
return function(params, max_norm)
  check.kind("clip_grad_norm_", "the list of parameters", params, "table")
  check.option("clip_grad_norm_", { max_norm = max_norm }, "max_norm", "number")
  if not (max_norm >= 0) then check.fail("clip_grad_norm_: max_norm must be at least 0, got %g", max_norm) end
  local norm = autograd.no_grad(scope.run, total_norm, params)
  if not (norm > TINY and norm < HUGE) then norm = autograd.no_grad(scope.run, total_norm, params, true) end
  if norm ~= norm or norm == math.huge then
    check.fail("clip_grad_norm_: the norm of the gradients is %g", norm)
  end
  local factor = max_norm / (norm + 1e-6)
  if factor < 1 then autograd.no_grad(scale, params, factor) end
  return norm
end
