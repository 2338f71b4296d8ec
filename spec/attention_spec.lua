local mosaic = require "mosaic"
local dense = require "spec.support.dense"
local fails = require "spec.support.fails"

--- Numbers in (-1, 1) that repeat from run to run.
local function values(shape, salt, dtype)
  local t = mosaic.empty { dtype = "f64", unpack(shape) }
  local list = {}
  for i = 1, t:numel() do list[i] = math.sin(i * 12.9898 + salt * 78.233) end
  return mosaic.tensor(list, { dtype = "f64" }):view(shape):to(dtype or "f64")
end

--- Largest distance between a tensor and a list; a NaN or a different infinity counts as infinite.
local function distance(tensor, truth)
  local list, worst = tensor:flat(), 0
  assert.equal(#truth, #list)
  for i = 1, #list do
    local error = list[i] == truth[i] and 0 or math.abs(list[i] - truth[i])
    if not (error <= worst) then worst = error == error and error or math.huge end
  end
  return worst
end

local function expect_close(what, tensor, truth, bound)
  local error = distance(tensor, truth)
  if not (error <= bound) then
    error = ("%s is off by %.3g, more than %.3g"):format(what, error, bound)
    assert(false, error)
  end
end

--- Forward and backward against the truth, in f64.
local function expect_exact(q, k, v, options)
  options = options or {}
  local out, lse = mosaic.sdpa(q, k, v, options)
  local truth = dense.attention(q, k, v, options)
  expect_close("out", out, truth.out, 1e-12)
  expect_close("lse", lse, truth.lse, 1e-12)
  local dout, dlse = values(q.shape, 7), values(lse.shape, 8)
  local g = dense.gradients(q, k, v, dout:flat(), dlse:flat(), options)
  local bias = options.mask and options.mask.bias
  local dq, dk, dv, dbias = mosaic.attention.backward(dout, lse, mosaic.attention.delta(dout, out, dlse),
    q, k, v, { scale = options.scale, mask = options.mask, q_positions = options.q_positions,
      k_positions = options.k_positions, bias_gradient = bias ~= nil })
  expect_close("dq", dq, g.dq, 1e-12)
  expect_close("dk", dk, g.dk, 1e-12)
  expect_close("dv", dv, g.dv, 1e-12)
  if bias then expect_close("dbias", dbias, g.dbias, 1e-12) end
end

describe("attention", function()
  local q, k, v = values({ 2, 4, 5, 3 }, 1), values({ 2, 2, 7, 3 }, 2), values({ 2, 2, 7, 3 }, 3)

  it("is a softmax of scaled products, heads grouped", function() expect_exact(q, k, v) end)

  it("differentiates out, lse and bias", function()
    local bias = values({ 4, 1, 7 }, 4)
    for _, t in ipairs { q, k, v, bias } do t:requires_grad_() end
    mosaic.gradcheck(function(a, b, c, d)
      return mosaic.sdpa(a, b, c, { mask = { causal = true, bias = d } })
    end, { q, k, v, bias })
    for _, t in ipairs { q, k, v } do t:requires_grad_(false) end
  end)

  it("names an unknown mask", function()
    fails("sdpa: mask: unknown option 'casual', did you mean 'causal'?",
      function() mosaic.sdpa(q, k, v, { mask = { casual = true } }) end)
  end)
end)
