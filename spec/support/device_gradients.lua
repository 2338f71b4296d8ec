--- Gradients of attention on tensor cores beside the truth in f64 on the CPU. Where operands have 16 bits
-- they may be off by twice what rounding as usual makes of them, else by twice what the CPU's f32 is.
--
--   device_gradients.agree(q, k, v, options, dout)   options may be a function of a device's name
--   device_gradients.there(x)       tensors, and all of them in tables, on the device that is tested
--   device_gradients.forward_of(q, k, v, dout, options) -> { lse, delta }   in f64, on the CPU
--   device_gradients.gradients(q, k, v, dout, forward, options) -> { dq, dk, dv }   lists of numbers
local mosaic = require "mosaic"
local Tensor = require "mosaic.tensor"
local device = require "spec.support.device"
local half_gradients = require "spec.support.half_gradients"
local support = require "spec.support.attention"

local values, distance = support.values, support.distance
local RESULTS = { "dq", "dk", "dv" }

--- Tensors, and all of them in tables, on the device that is tested.
local function there(x)
  if Tensor.is(x) then return x:to { device = device.name } end
  if type(x) ~= "table" then return x end
  local copy = {}
  for key, value in pairs(x) do copy[key] = there(value) end
  return copy
end

local function gradients(q, k, v, dout, forward, options)
  local dq, dk, dv = mosaic.attention.backward(dout, forward.lse, forward.delta, q, k, v, options)
  local results = { dq = dq, dk = dk, dv = dv }
  for name, x in pairs(results) do results[name] = x:to { device = "cpu" }:to "f64":flat() end
  return results
end

--- An f64 forward of what the operands hold.
local function forward_of(q, k, v, dout, options)
  local out, lse = mosaic.attention.forward(q:to "f64", k:to "f64", v:to "f64", options)
  return { lse = lse, delta = mosaic.attention.delta(dout:to "f64", out) }
end

local function measure_of(q, k, v, dout, forward, options)
  if q.dtype ~= "f32" then return half_gradients(q, k, v, dout, forward.delta, options) end
  return gradients(q, k, v, dout, { lse = forward.lse, delta = forward.delta:to "f32" }, options)
end

--- dout may be given.
local function agree(q, k, v, options, dout)
  local here = type(options) == "function" and options "cpu" or options or {}
  local away = type(options) == "function" and options(device.name) or there(here)
  dout = dout or values(q.shape, 7, "f32")
  local forward = forward_of(q, k, v, dout, here)
  local truth = gradients(q:to "f64", k:to "f64", v:to "f64", dout:to "f64", forward, here)
  local measure = measure_of(q, k, v, dout, forward, here)
  local found = gradients(there(q), there(k), there(v), there(dout),
    there { lse = forward.lse, delta = forward.delta:to "f32" }, away)
  for _, name in ipairs(RESULTS) do
    local _, exponent = math.frexp(support.largest(truth[name]))
    local bound = 2 * distance(measure[name], truth[name]) + 4 * 2 ^ (exponent - 24)
    local worst = distance(found[name], truth[name])
    assert(worst <= bound, ("%s of %s %s is off by %.3g, more than %.3g"):format(name, q.dtype,
      table.concat(q.shape, ","), worst, bound))
  end
end

return { agree = agree, there = there, gradients = gradients, forward_of = forward_of }
