--- Limits the length of the whole gradient: optim.clip_grad_norm_(model:parameters(), 1.0) -> norm before.
local autograd = require "mosaic.autograd"
local check = require "mosaic.check"
local scope = require "mosaic.tensor.scope"
local cat = require("mosaic.tensor.join").cat

local function sum_of_squares(grad)
  return grad:to("f64"):square():sum():view(1)
end

--- sqrt of the sum of squares over all gradients, with the squares of each tensor summed in f64. Devices are
-- waited for once.
local function total_norm(params)
  local sums, total = {}, 0
  for _, p in ipairs(params) do
    if p.grad then sums[#sums + 1] = scope.run(sum_of_squares, p.grad) end
  end
  for _, sum in ipairs(#sums > 0 and cat(sums, 1):flat() or sums) do total = total + sum end
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
  local norm = autograd.no_grad(total_norm, params)
  if norm ~= norm or norm == math.huge then
    check.fail("clip_grad_norm_: the norm of the gradients is %g", norm)
  end
  local factor = max_norm / (norm + 1e-6)
  if factor < 1 then autograd.no_grad(scale, params, factor) end
  return norm
end
