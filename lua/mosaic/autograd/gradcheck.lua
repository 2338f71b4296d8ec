--- Compares derivatives with central differences in float64.
local ffi = require "ffi"
local check = require "mosaic.check"
local tape = require "mosaic.autograd.tape"
local create = require "mosaic.tensor.create"
local operand = require "mosaic.tensor.operand"

--- Fixed weights, irregular enough that errors do not cancel: the check differentiates sum(w * out).
local function weights_like(t, salt)
  local values = {}
  for i = 1, t:numel() do values[i] = math.sin(12.9898 * i + 78.233 * salt) end
  return create.tensor(values, { dtype = t.dtype, device = t.device }):view(t.shape)
end

--- sum over all results of w * result, as a Lua number and with the roots for backward.
local function weigh(results)
  local total, weights = 0, {}
  for i, out in ipairs(results) do
    weights[i] = weights_like(out, i)
    local w, o = weights[i]:flat(), out:flat()
    for j = 1, #o do
      -- an empty attention row has lse = -inf, and no influence
      if o[j] ~= -math.huge then total = total + w[j] * o[j] end
    end
  end
  return total, weights
end

local function numeric(f, inputs, input, step)
  local values, slopes = input:flat(), {}
  local buffer = ffi.new("double[?]", #values, values)
  local function at(i, value)
    buffer[i - 1] = value
    check.call("mosaic_tensor_write_f64", input.c, buffer, #values)
    buffer[i - 1] = values[i]
    return (weigh { f(unpack(inputs)) })
  end
  for i, value in ipairs(values) do
    slopes[i] = (at(i, value + step) - at(i, value - step)) / (2 * step)
  end
  check.call("mosaic_tensor_write_f64", input.c, buffer, #values)
  return slopes
end

local function compare(index, analytic, slopes, tolerance)
  local largest = 0
  for _, s in ipairs(slopes) do largest = math.max(largest, math.abs(s)) end
  local bound = tolerance * (1 + largest)
  for i, s in ipairs(slopes) do
    if not (math.abs(analytic[i] - s) <= bound) then
      check.fail("gradcheck: input %d, element %d: backward gives %.10g, differences give %.10g (bound %.3g)",
        index, i, analytic[i], s, bound)
    end
  end
end

--- Checks backward of f at `inputs` (f64 tensors; those with requires_grad are checked).
-- f returns one or more tensors. options: step (1e-6), tolerance (1e-6, relative to the largest
-- slope, plus absolute). Returns true or raises with the element and both values.
return function(f, inputs, options)
  options = check.options("gradcheck", options or {}, { "step", "tolerance" })
  check.callable("gradcheck", "f", f)
  for i, input in ipairs(check.kind("gradcheck", "inputs", inputs, "table")) do
    operand("gradcheck", ("input %d"):format(i), input)
    if input.requires_grad and input.dtype ~= "f64" then
      check.fail("gradcheck: input %d is %s; differences need f64", i, input:describe())
    end
    input.grad = nil
  end
  local results = { f(unpack(inputs)) }
  local _, weights = weigh(results)
  local roots, gradients = {}, {}
  for i, out in ipairs(results) do
    if out.edge then roots[#roots + 1], gradients[#gradients + 1] = out, weights[i] end
  end
  if #roots == 0 then check.fail "gradcheck: no result depends on an input that requires a gradient" end
  tape.backward(roots, gradients)
  for i, input in ipairs(inputs) do
    if input.requires_grad then
      local analytic = input.grad and input.grad:flat() or input:zeros_like():flat()
      local slopes = tape.no_grad(numeric, f, inputs, input, options.step or 1e-6)
      compare(i, analytic, slopes, options.tolerance or 1e-6)
    end
  end
  return true
end
