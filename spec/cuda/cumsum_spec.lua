local mosaic = require "mosaic"
local along_axes = require "spec.support.along_axes"
local close = require "spec.support.close"
local device = require "spec.support.device"
local fill = require "spec.support.fill"

local BOUND = { f32 = 2e-7, f64 = 1e-14, bf16 = 2 ^ -8, f16 = 2 ^ -10, i32 = 0, i64 = 0, u8 = 0 }

local function there(x) return x:to { device = device.name } end

local function agree(x, g, axis)
  for _, backwards in ipairs { false, true } do
    close(g:cumsum(axis, backwards), x:cumsum(axis, backwards), BOUND[x.dtype])
  end
end

describe("running sums on a device", function()
  for dtype in pairs(BOUND) do
    it("are the CPU's, along any axis of any strides: " .. dtype, function()
      local x = (fill { 4, 9, 5 }:to { device = "cpu" } * 4 + 4):floor():to(dtype)
      along_axes(x, there(x), agree)
    end)
  end

  local shapes = { { 1 }, { 300 }, { 4097 }, { 30001 }, { 3, 9011 }, { 9011, 3 }, { 2, 3000, 5 } }
  for _, shape in ipairs(shapes) do
    it("run through many: " .. table.concat(shape, "x"), function()
      for _, dtype in ipairs { "f32", "f64", "i32" } do
        local x = (fill(shape):to { device = "cpu" } * 1000):to(dtype)
        for axis = 1, #shape do agree(x, there(x), axis) end
      end
    end)
  end

  it("wrap around, and stay NaN from the first one on", function()
    local x = there(mosaic.full({ 5, dtype = "u8" }, 100))
    assert.same({ 100, 200, 44, 144, 244 }, x:cumsum(1):flat())
    close(there(mosaic.tensor { 1, 0 / 0, 3 }):cumsum(1), { 1, 0 / 0, 0 / 0 })
    close(there(mosaic.tensor { 1, math.huge, 3 }):cumsum(1), { 1, math.huge, math.huge })
  end)

  it("keep the digits of long f32 sums", function()
    local x = mosaic.full({ 100000, device = device.name }, 0.1)
    close(x:cumsum(1)[100000]:item(), 10000.000149, 1e-7)
  end)
end)
