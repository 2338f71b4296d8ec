--- Attention cases: out, lse and all gradients.
-- f64: 1e-10 of each tensor's largest value. f32: twice the error of a plain f32 implementation of
-- the same case, plus 4 units in the last place of the largest value.
local gain = require "reference.gain"
local kinds = require "reference.kinds"
local measure = require "reference.measure"
local mosaic = require "mosaic"
local places = require "reference.places"
local plain = require "reference.plain"

local RESULTS = { "out", "lse", "dq", "dk", "dv" }
local ROWS = { out = 3, lse = 3, dq = 3, dk = 3, dv = 3 } -- axis of the rows

local function leaf(t) return t:detach():requires_grad_() end

local function run_local(t, kind)
  local q, k, v = leaf(t.q), leaf(t.k), leaf(t.v)
  local out, lse = mosaic.attend(q, k, v, {
    strategy = kind.strategy or "local", comm = mosaic.comm.alone(), layout = "contiguous",
    mask = kind.mask(function(x) return x end),
  })
  out:backward(t.dout)
  return { out = out:detach(), lse = lse:detach(), dq = q.grad, dk = k.grad, dv = v.grad }
end

--- A kind with a strategy of its own goes by that in the ring's place, in its closed form by the others.
local function run_sharded(t, kind, comm, layout, strategy)
  local function cut(x, axis) return mosaic.shard(x, { axis = axis, comm = comm, layout = layout }) end
  local q, k, v = leaf(cut(t.q, 3)), leaf(cut(t.k, 3)), leaf(cut(t.v, 3))
  local own = strategy == "ring" and kind.strategy
  local mask = (own or not kind.closed_form) and kind.mask(cut) or kind.closed_form(cut)
  local out, lse = mosaic.attend(q, k, v,
    { strategy = own or strategy, comm = comm, layout = layout, mask = mask })
  out:backward(cut(t.dout, 3))
  local results = { out = out:detach(), lse = lse:detach(), dq = q.grad, dk = k.grad, dv = v.grad }
  for name, x in pairs(results) do
    results[name] = nil
    results[name] = mosaic.unshard(x, { axis = ROWS[name], comm = comm, layout = layout })
  end
  return results
end

--- For each result the error of the plain f32 implementation.
local function plain_errors(case, kind)
  local r = plain(case.get "q", case.get "k", case.get "v", case.get "dout", kind)
  local errors = {}
  for _, name in ipairs(RESULTS) do
    local expected, got = case.get(name):flat(), {}
    for i = 1, #expected do got[i] = tonumber(r[name][i - 1]) end
    errors[name] = measure.distance(got, expected)
    if errors[name] == math.huge then error("the plain implementation failed on " .. name, 0) end
  end
  return errors
end

local function bounds_of(case, kind)
  local errors = plain_errors(case, kind)
  return {
    f64 = function() return function(scale) return 1e-10 * scale end end,
    f32 = function(name)
      return function(scale) return 2 * errors[name] + 4 * measure.ulp(scale) end
    end,
  }
end

--- The largest value among all results.
local function largest_of(case)
  local largest = 0
  for _, name in ipairs(RESULTS) do largest = math.max(largest, measure.largest(case.get(name):flat())) end
  return largest
end

--- The inputs in a dtype. f64: with the q of the reference, should that be another than the file's.
local function inputs_of(case, kind, dtype)
  local t = {}
  for _, input in ipairs { "q", "k", "v", "dout" } do t[input] = case.get(input):to(dtype) end
  if dtype == "f64" and (case.parameters.gain or 1) ~= 1 then
    local expected = case.get "lse"
    local distance = measure.distance(run_local(t, kind).lse:flat(), expected:flat())
    if not (distance <= 1e-10 * measure.largest(expected:flat())) then t.q = gain(case, kind) end
  end
  return t
end

return function(case)
  local name = case.parameters.kind
  if not kinds[name] then error(("attention of kind %s is not known"):format(tostring(name)), 0) end
  local kind = kinds[name](case.parameters)
  local bounds, whole, result = bounds_of(case, kind), largest_of(case), {}
  for _, dtype in ipairs { "f64", "f32" } do
    local t, worst = inputs_of(case, kind, dtype), measure.new()
    places({ "contiguous", "zigzag", "striped" }, function(comm, layout, strategy)
      if not comm then return run_local(t, kind) end
      return run_sharded(t, kind, comm, layout, strategy)
    end, function(place, got)
      for _, what in ipairs(RESULTS) do
        worst:add(what .. ", " .. place, got[what], case.get(what), bounds[dtype](what), { whole = whole })
      end
    end, { 2, 4, 5 })
    result[dtype] = worst
  end
  return result
end
