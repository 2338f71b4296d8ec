local mosaic = require "mosaic"
local device = require "spec.support.device"

--- One draw on the CPU and one on the device, from the same place of the same stream.
local function both(name, options, ...)
  local lists = {}
  for i, where in ipairs { "cpu", device.name } do
    local copy = { device = where, generator = mosaic.generator(11) }
    for k, v in pairs(options) do copy[k] = v end
    local args = { ... }
    args[#args + 1] = copy
    lists[i] = mosaic[name](unpack(args)):flat()
  end
  return lists[1], lists[2]
end

describe("random numbers on a device", function()
  for _, dtype in ipairs { "f32", "f64", "bf16", "f16" } do
    it("are the CPU's, bit by bit: " .. dtype, function()
      assert.same(both("rand", { 3000, dtype = dtype }))
      assert.same(both("randn", { 3000, dtype = dtype }))
      assert.same(both("randn", { 3, 5, 7, dtype = dtype }))
    end)
  end

  for _, dtype in ipairs { "i64", "i32", "u8", "f32", "bf16" } do
    it("are whole where they should be: " .. dtype, function()
      local low, high = dtype == "u8" and 0 or -100, 127
      assert.same(both("randint", { 1000, dtype = dtype }, low, high))
      if dtype == "i64" then assert.same(both("randint", { 1000 }, -2 ^ 52, 2 ^ 52)) end
    end)
  end

  it("of a block are those that the whole tensor has there", function()
    local part = { shape = { 90, 80 }, offset = { 20, 3 }, step = { 30, 5 } }
    assert.same(both("randn", { 3, 10, global = part }))
    assert.same(both("rand", { 3, 10, global = part }))
    local first = { shape = { 2 ^ 20, 2 ^ 20 }, offset = { 2 ^ 19, 7 } } -- beyond 32 bits
    assert.same(both("rand", { 2, 3, global = first }))
  end)

  it("fill views, and never reach the upper end", function()
    local seen = {}
    for i, where in ipairs { "cpu", device.name } do
      local x = mosaic.zeros { 40, 30, dtype = "bf16", device = where }
      x:t():slice(1, 2, 29, 3):uniform_(-3, -2, { generator = mosaic.generator(2) })
      x:slice(1, 5, 9):normal_(5, 2, { generator = mosaic.generator(3) })
      seen[i] = x:flat()
      assert.is_true(x:t():slice(1, 2, 29, 3):slice(2, 10, 40):max():item() < -2)
    end
    assert.same(seen[1], seen[2])
  end)

  it("permute the same way", function()
    assert.same(both("randperm", {}, 1000))
  end)
end)
