--- Attention on tensor cores of numbers of mixed sizes. Every element is held to what rounding may cost it
-- by itself: so many ulps of the sum of its terms' sizes, whatever is large elsewhere.
local mosaic = require "mosaic"
local device_gradients = require "spec.support.device_gradients"
local on = require "spec.support.device_attention"
local support = require "spec.support.attention"

local values, there = support.values, device_gradients.there
local HEAD, QUERIES, KEYS = 24, 40, 70
local SCALE = 1 / math.sqrt(HEAD)

local function wide(x) return x:to { device = "cpu" }:to "f64" end
local function turned(x) return x:transpose(-1, -2) end

--- Rows first .. last of one axis times gain.
local function scaled(x, axis, first, last, gain)
  local list = {}
  for i = 1, x:size(axis) do list[i] = i >= first and i <= last and gain or 1 end
  local shape = { 1, 1, 1, 1 }
  shape[axis] = #list
  return (x:to "f64" * mosaic.tensor(list, { dtype = "f64" }):view(shape)):to(x.dtype)
end

--- Sums of the sizes of terms, each times how many ulps its weight may be off; `seen`, (1 or queries, keys),
-- is 0 where the mask hides a pair.
local function sizes_of(x, seen, off)
  local any = turned(seen:amax(1, true))
  local q, k, v, dout = wide(x.q), wide(x.k) * any, wide(x.v) * any, wide(x.dout)
  local scores = q:matmul(turned(k)) * SCALE + (1 - seen) * -1e300
  local weights = (scores - scores:amax(-1, true)):exp()
  local doubt = (q:abs():matmul(turned(k:abs())) * SCALE):amax(-1, true) * 2 + off
  weights = weights / weights:sum(-1, true) * doubt
  local out = weights:matmul(v:abs())
  local slants = dout:abs():matmul(turned(v:abs())) + (dout:abs() * out):sum(-1, true) / doubt
  slants = weights * slants * SCALE
  return { out = out, dv = turned(weights):matmul(dout:abs()), dq = slants:matmul(k:abs()),
    dk = turned(slants):matmul(q:abs()) }
end

local function results_of(x, options)
  local out, lse = mosaic.attention.forward(wide(x.q), wide(x.k), wide(x.v), options)
  local delta = mosaic.attention.delta(wide(x.dout), out)
  local truth = device_gradients.gradients(wide(x.q), wide(x.k), wide(x.v), wide(x.dout),
    { lse = lse, delta = delta }, options)
  truth.out = out:flat()
  local far = there(x)
  local found = device_gradients.gradients(far.q, far.k, far.v, far.dout,
    there { lse = lse, delta = delta:to "f32" }, there(options))
  found.out = wide(mosaic.attention.forward(far.q, far.k, far.v, there(options))):flat()
  return found, truth
end

local function is_exact(x, options, seen, ulp, off)
  local found, truth = results_of(x, options)
  local sizes = sizes_of(x, seen or mosaic.ones { 1, KEYS, dtype = "f64" }, off or 24)
  for name, list in pairs(truth) do
    local size, worst, at = sizes[name]:flat(), 0, 0
    for i, value in ipairs(list) do
      local error = math.abs(found[name][i] - value) / (size[i] * ulp + 1e-35)
      if not (error <= worst) then worst, at = error, i end
    end
    assert(worst <= 1, ("%s[%d] is %.9g, not %.9g: %.3g times what it may be off"):format(name, at,
      found[name][at] or 0, list[at] or 0, worst))
  end
end

--- q, k, v and dout of 2 batch entries, changed.
local function operands(change, dtype)
  local q, k, v = support.operands({ 2, 1, 1, QUERIES, KEYS, HEAD }, dtype or "f32")
  local x = { q = q, k = k, v = v, dout = values(q.shape, 7, "f32") }
  for name, value in pairs(change(x)) do x[name] = value end
  return x
end

local ULP = { f32 = 2 ^ -24, f16 = 2 ^ -11 }
local function check(change, options, seen) is_exact(operands(change), options or {}, seen, ULP.f32) end

describe("attention on tensor cores", function()
  setup(function() on.choose "tensor" end)
  teardown(function() on.choose(nil) end)

  it("keeps small channels beside large ones", function()
    check(function(x) return { v = scaled(scaled(x.v, 4, 3, 3, 1e6), 4, 4, 9, 1e-3) } end)
    check(function(x)
      return { q = scaled(x.q, 4, 3, 3, 1e-6), k = scaled(x.k, 4, 3, 3, 1e6),
        dout = scaled(x.dout, 4, 5, 5, 1e7) }
    end)
  end)

  it("keeps small rows beside large ones", function()
    local earlier = mosaic.arange(1, QUERIES, { dtype = "f64" }):view(QUERIES, 1)
      :ge(mosaic.arange(1, KEYS, { dtype = "f64" })):to "f64"
    check(function(x) return { v = scaled(x.v, 3, 30, 30, 1e9) } end, { mask = { causal = true } }, earlier)
    check(function(x) return { q = scaled(x.q, 3, 5, 5, 1e9), dout = scaled(x.dout, 3, 5, 5, 0) } end)
    check(function(x) return { dout = scaled(x.dout, 3, 7, 7, 1e6) } end)
  end)

  it("keeps batch entries apart", function()
    local function change(x)
      return { dout = scaled(x.dout, 1, 1, 1, 1e6), v = scaled(x.v, 1, 1, 1, 1e2) }
    end
    check(change)
    is_exact(operands(change, "f16"), {}, nil, ULP.f16)
  end)

  it("has nothing of hidden keys", function()
    local list = {}
    for i = 1, KEYS do list[i] = i <= 50 and 1 or 0 end
    local keep = mosaic.tensor(list, { dtype = "u8" })
    local seen = mosaic.tensor(list, { dtype = "f64" }):view(1, KEYS)
    for _, gain in ipairs { 1e8, 1e30 } do
      local function change(x)
        return { k = scaled(x.k, 3, 55, 56, gain), v = scaled(x.v, 3, 56, 57, gain) }
      end
      check(change, { mask = { keep = keep:view(1, 1, 1, KEYS) } }, seen)
      check(change, { mask = { prefix = 50 } }, seen)
    end
  end)

  it("takes nothing for nothing, and tiny numbers for what they are", function()
    check(function(x) return { q = x.q * 0, k = x.k * 1e-4 } end)
    check(function(x) return { dout = x.dout * 0, k = x.k * 2 ^ -22 } end)
    check(function(x) return { q = x.q * 0, k = x.k * 0, v = x.v * 0, dout = x.dout * 0 } end)
    for _, gain in ipairs { 1e-16, 1e-20 } do
      check(function(x) return { q = x.q * gain, k = x.k * gain } end)
    end
    is_exact(operands(function(x) return { dout = x.dout * 0 } end, "f16"), {}, nil, ULP.f16)
  end)
end)
