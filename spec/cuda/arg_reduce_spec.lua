local mosaic = require "mosaic"
local along_axes = require "spec.support.along_axes"
local device = require "spec.support.device"
local fill = require "spec.support.fill"

local DTYPES = { "f32", "f64", "bf16", "f16", "i32", "i64", "u8" }

local function there(x) return x:to { device = device.name } end

--- Both results are the CPU's, bit by bit.
local function agree(x, on_device, axis)
  for _, name in ipairs { "max", "min" } do
    local values, places = x[name](x, axis)
    local got_values, got_places = on_device[name](on_device, axis)
    assert.same(values.shape, got_values.shape)
    assert.same(places:flat(), got_places:flat())
    assert.same(values:flat(), got_values:flat())
    local arg = "arg" .. name
    assert.same(x[arg](x, axis):flat(), on_device[arg](on_device, axis):flat())
  end
end

describe("the place of the largest and the smallest element on a device", function()
  for _, dtype in ipairs(DTYPES) do
    it("is the CPU's, the first of equals included: " .. dtype, function()
      local x = (fill { 4, 9, 5 }:to { device = "cpu" } * 4 + 4):floor():to(dtype)
      along_axes(x, there(x), agree)
    end)
  end

  local shapes = { { 1 }, { 255 }, { 4097 }, { 60001 }, { 3, 20011 }, { 20011, 3 }, { 2, 9000, 5 } }
  for _, shape in ipairs(shapes) do
    it("is found in many: " .. table.concat(shape, "x"), function()
      local x = (fill(shape, { dtype = "f32" }):to { device = "cpu" } * 1000):floor()
      for axis = 1, #shape do agree(x, there(x), axis) end
    end)
  end

  it("is the first NaN where there is one", function()
    for _, n in ipairs { 5, 30000 } do
      local x = fill({ n }, { dtype = "f32" })
      x:set(n - 1, 0 / 0)
      x:set(n - 3, 0 / 0)
      local g = there(x)
      assert.equal(n - 3, g:argmax(1):item())
      assert.equal(n - 3, g:argmin(1):item())
      assert.equal(n - 3, g:reshape(1, n):argmax(2):item())
    end
  end)

  it("may be an infinity or the widest integer", function()
    assert.equal(2, there(mosaic.tensor { -math.huge, math.huge, 1 }):argmax(1):item())
    assert.equal(1, there(mosaic.full({ 3 }, -math.huge)):argmax(1):item())
    assert.equal(1, there(mosaic.full({ 3 }, math.huge)):argmin(1):item())
    assert.equal(2, there(mosaic.tensor({ 2 ^ 53 - 1, 2 ^ 53 }, { dtype = "i64" })):argmax(1):item())
  end)
end)
