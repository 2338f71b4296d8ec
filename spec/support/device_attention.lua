--- Attention on the device of the specs beside the CPU's: f64 there is the truth, and its own error the
-- measure for the other dtypes.
--
--   on.agree(q, k, v, options)      all results and gradients; options may be a function of a device's name
--   on.agree_all(sizes, options, dtypes)   of operands of these sizes, in every dtype or those given
--   on.moved(x, name)               a tensor, or the tensors in tables, on the device of that name
--   on.run(q, k, v, options, dout, dlse, into) -> { out, lse, dq, dk, dv, dbias }   lists of numbers
--   on.with(options, more)          a copy that has these, too
--   on.wide(options)                a copy whose bias is f64
--   on.choose(path)                 MOSAIC_ATTENTION from now on, or none
local ffi = require "ffi"
local device = require "spec.support.device"
local mosaic = require "mosaic"
local support = require "spec.support.attention"
local Tensor = require "mosaic.tensor"

ffi.cdef [[
int setenv(const char *name, const char *value, int overwrite);
int unsetenv(const char *name);
]]

local on = {}

function on.choose(path)
  if path then ffi.C.setenv("MOSAIC_ATTENTION", path, 1) else ffi.C.unsetenv "MOSAIC_ATTENTION" end
end

local distance = support.distance
local RESULTS = { "out", "lse", "dq", "dk", "dv", "dbias" }

--- x on that device, laid out in memory as it is here.
local function carried(x, name)
  if x.ndim < 2 then return x:to { device = name } end
  local order, back = x:memory_order(), {}
  for i, axis in ipairs(order) do back[axis] = i end
  return x:permute(unpack(order)):to { device = name }:permute(unpack(back))
end

function on.moved(x, name)
  if Tensor.is(x) then return carried(x, name) end
  if type(x) ~= "table" then return x end
  local copy = {}
  for key, value in pairs(x) do copy[key] = on.moved(value, name) end
  return copy
end

function on.with(options, more)
  local copy = {}
  for name, value in pairs(options) do copy[name] = value end
  for name, value in pairs(more) do copy[name] = value end
  return copy
end

local function here(x) return x:to { device = "cpu" } end

--- On the device that the operands are on; delta is made on the CPU.
function on.run(q, k, v, options, dout, dlse, into)
  local out, lse = mosaic.attention.forward(q, k, v, options)
  local delta = mosaic.attention.delta(here(dout), here(out), dlse):to { device = q.device }
  local wants_bias = options.mask and options.mask.bias ~= nil
  local dq, dk, dv, dbias = mosaic.attention.backward(dout, lse, delta, q, k, v,
    on.with(options, { bias_gradient = wants_bias, into = into }))
  local results = { out = out, lse = lse, dq = dq, dk = dk, dv = dv, dbias = dbias }
  for name, x in pairs(results) do results[name] = here(x):to "f64":flat() end
  return results
end

local function largest(list)
  local most = 0
  for _, x in ipairs(list) do
    if math.abs(x) < math.huge then most = math.max(most, math.abs(x)) end
  end
  return most
end

function on.wide(options)
  local mask = on.with(options.mask or {}, {})
  mask.bias = mask.bias and mask.bias:to "f64"
  return on.with(options, { mask = mask })
end

--- With the operands as they are, in f64.
local function truth_of(q, k, v, options, dout, dlse)
  return on.run(q:to "f64", k:to "f64", v:to "f64", on.wide(options), dout:to "f64", dlse)
end

--- f64: 1e-12 of the largest value, else twice what the CPU is off, whose sums in pairs err less than sums in
-- a row, and 6 ulps of f32.
local function bound_of(name, dtype, truth, measure)
  if dtype == "f64" then return 1e-12 * math.max(1, largest(truth[name])) end
  local _, exponent = math.frexp(largest(truth[name]))
  return 2 * distance(measure[name], truth[name]) + 6 * 2 ^ (exponent - 24)
end

local function compare(found, truth, measure, what, dtype)
  for _, name in ipairs(RESULTS) do
    local worst = truth[name] and distance(found[name], truth[name]) or 0
    local bound = truth[name] and bound_of(name, dtype, truth, measure) or 0
    assert(worst <= bound, ("%s of %s is off by %.3g, more than %.3g"):format(name, what, worst, bound))
  end
end

function on.agree(q, k, v, options)
  local function make(name)
    if type(options) == "function" then return options(name) end
    return on.moved(options or {}, name)
  end
  local dout, shape = support.values(q.shape, 7, q.dtype == "f64" and "f64" or "f32"), { unpack(q.shape) }
  shape[#shape] = nil
  local dlse, name = support.values(shape, 8), device.name
  local truth = truth_of(q, k, v, make "cpu", dout, dlse)
  local measure = q.dtype == "f64" and truth or on.run(q, k, v, make "cpu", dout, dlse)
  local found = on.run(on.moved(q, name), on.moved(k, name), on.moved(v, name), make(name),
    on.moved(dout, name), dlse)
  compare(found, truth, measure, "q " .. q:describe() .. ", k " .. k:describe(), q.dtype)
end

function on.agree_all(sizes, options, dtypes)
  for _, dtype in ipairs(dtypes or { "f64", "f32", "bf16", "f16" }) do
    local q, k, v = support.operands(sizes, dtype)
    on.agree(q, k, v, options)
  end
end

return on
