local mosaic = require "mosaic"
local along_axes = require "spec.support.along_axes"
local device = require "spec.support.device"
local fill = require "spec.support.fill"

local DTYPES = { "f32", "f64", "bf16", "f16", "i32", "i64", "u8" }
local inf, nan = math.huge, 0 / 0

local function there(x) return x:to { device = device.name } end

--- The bits of a list of numbers: NaN equals NaN, and -0 is not 0.
local function bits(t)
  local list = t:flat()
  for i, x in ipairs(list) do list[i] = ("%a"):format(x):gsub("-?nan", "nan") end
  return list
end

--- Sorted both ways, and the first few of both orders: values and places are the CPU's.
local function agree(x, g, axis)
  for _, down in ipairs { false, true } do
    local values, places = x:sort(axis, down)
    local got_values, got_places = g:sort(axis, down)
    assert.same(places:flat(), got_places:flat())
    assert.same(bits(values), bits(got_values))
    for _, count in ipairs { 1, math.ceil(x.shape[axis] / 3) } do
      values, places = x:topk(count, axis, down)
      got_values, got_places = g:topk(count, axis, down)
      assert.same(places:flat(), got_places:flat())
      assert.same(bits(values), bits(got_values))
    end
  end
end

describe("order on a device", function()
  for _, dtype in ipairs(DTYPES) do
    it("is the CPU's, and stable: " .. dtype, function()
      local x = (fill { 4, 9, 5 }:to { device = "cpu" } * 4 + (dtype == "u8" and 4 or 0)):floor():to(dtype)
      along_axes(x, there(x), agree)
    end)
  end

  for _, dtype in ipairs { "f32", "f64", "bf16", "f16" } do
    it("has NaN last both ways, and -0 equal to 0: " .. dtype, function()
      local x = mosaic.tensor({ 2, nan, -inf, 0, 2, -0.0, inf, -3, nan }, { dtype = dtype, device = "cpu" })
      agree(x, there(x), 1)
    end)
  end

  it("holds for the widest integers", function()
    local x = mosaic.tensor({ 3, 2 ^ 53, -2 ^ 53, 3, -1, 0 }, { dtype = "i64", device = "cpu" })
    agree(x, there(x), 1)
    x = mosaic.tensor({ 2 ^ 31 - 1, -2 ^ 31, 0, 2 ^ 31 - 1 }, { dtype = "i32", device = "cpu" })
    agree(x, there(x), 1)
  end)

  -- around the length of a tile, odd numbers of runs, several rows
  for _, shape in ipairs { { 1 }, { 2 }, { 1023 }, { 1024 }, { 1025 }, { 3000 }, { 5121 }, { 2, 2500 },
    { 2500, 2 }, { 700, 3 }, { 3, 700, 2 } } do
    it("of many elements: " .. table.concat(shape, "x"), function()
      for _, dtype in ipairs { "f32", "i64" } do
        local x = (fill(shape):to { device = "cpu" } * 700):floor():to(dtype)
        for axis = 1, #shape do agree(x, there(x), axis) end
      end
    end)
  end
end)
