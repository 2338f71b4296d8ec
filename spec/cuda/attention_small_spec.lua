local ffi = require "ffi"
local mosaic = require "mosaic"
local device = require "spec.support.device"
local on = require "spec.support.device_attention"
local support = require "spec.support.attention"

local values = support.values

ffi.cdef "int setenv(const char *name, const char *value, int replace); int unsetenv(const char *name);"

describe("attention over many short axes", function()
  before_each(function() ffi.C.setenv("MOSAIC_ATTENTION", "small", 1) end)
  after_each(function() ffi.C.unsetenv "MOSAIC_ATTENTION" end)

  it("agrees with the CPU: 5 features, in every dtype", function()
    on.agree_all({ 256, 4, 4, 5, 5, 24 }, { scale = 0.7 }, { "f32", "bf16", "f16" })
  end)

  it("agrees with the CPU where queries and keys differ, and where blocks are not full", function()
    for _, sizes in ipairs { { 1031, 1, 1, 3, 16, 8 }, { 513, 2, 2, 16, 1, 4 }, { 1024, 1, 1, 1, 7, 48 } } do
      on.agree_all(sizes, {}, { "f32" })
    end
  end)

  it("reads the projections of a layer where they lie, features beside heads", function()
    local all = values({ 260, 5, 3, 4, 8 }, 3, "f32") -- rows, features, q k v, heads, head size
    local parts = {}
    for i = 1, 3 do parts[i] = all:select(3, i):permute(1, 3, 2, 4) end
    on.agree(parts[1], parts[2], parts[3], {})
    local crooked = values({ 260, 4, 8, 5 }, 4, "f32"):permute(1, 2, 4, 3)
    on.agree(crooked, parts[2], parts[3], {})
  end)

  it("shares keys between grouped heads, forward", function()
    local q, k = values({ 300, 4, 5, 8 }, 1, "f32"), values({ 300, 2, 5, 8 }, 2, "f32")
    local v = values({ 300, 2, 5, 8 }, 3, "f32")
    local out, lse = mosaic.attention.forward(q:to "f64", k:to "f64", v:to "f64")
    local there, their_lse = mosaic.attention.forward(on.moved(q, device.name), on.moved(k, device.name),
      on.moved(v, device.name))
    assert.is_true(support.distance(there:to { device = "cpu" }:flat(), out:flat()) <= 1e-6)
    assert.is_true(support.distance(their_lse:to { device = "cpu" }:flat(), lse:flat()) <= 1e-6)
  end)

  it("leaves calls with masks, long axes and few problems to others", function()
    if device.name == "cpu" then return pending "the CPU has no paths" end
    local few = on.moved(values({ 2, 4, 5, 8 }, 1, "f32"), device.name)
    assert.has_error(function() mosaic.attention.forward(few, few, few) end)
    local many = on.moved(values({ 300, 4, 5, 8 }, 1, "f32"), device.name)
    assert.has_error(function() mosaic.attention.forward(many, many, many, { mask = { causal = true } }) end)
    assert.is_truthy(mosaic.attention.forward(many, many, many))
  end)

  it("has no NaN where products are too large: some scores are -infinity, or all", function()
    if device.name == "cpu" then return pending "the CPU has no paths" end
    local q, k = mosaic.ones { 1024, 1, 2, 8 } * 1e20, mosaic.ones { 1024, 1, 3, 8 } * 1e-20
    k:select(3, 1):copy_(mosaic.ones { 1024, 1, 8 } * -1e20)
    local v = values({ 1024, 1, 3, 8 }, 5, "f32")
    on.agree(q, k, v, {})
    local out, lse = mosaic.attention.forward(unpack(on.moved({ q, -q, v:narrow(3, 1, 2) }, device.name)))
    assert.equal(0, support.largest(out:to { device = "cpu" }:flat()))
    assert.equal(-math.huge, lse:to({ device = "cpu" }):flat()[1])
  end)
end)
