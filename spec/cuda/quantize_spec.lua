local mosaic = require "mosaic"
local device = require "spec.support.device"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"

local function there(x) return x:to { device = device.name } end

--- Rows of very different sizes, with zeros and halves among them.
local function rows(shape, dtype)
  local x = fill(shape):to { device = "cpu" }
  local scales = { 1, 0.001, 1000, 0, 2 ^ -14, 3, 7 }
  local flat = x:reshape(-1, shape[#shape])
  for row = 1, flat.shape[1] do
    flat:select(1, row):mul_(scales[row % #scales + 1])
    if shape[#shape] > 4 then flat:set(row, 3, 0.5) end
  end
  return flat:reshape(unpack(shape)):to(dtype)
end

local function agree(x, g, format)
  local payload, on_device = x:quantize(format), g:quantize(format)
  assert.same(payload.shape, on_device.shape)
  assert.same(payload:flat(), on_device:flat())
  for _, dtype in ipairs { "f32", "f64", "bf16", "f16" } do
    assert.same(payload:dequantize(format, dtype):flat(), on_device:dequantize(format, dtype):flat())
  end
  local fewer = payload:slice(1, 1, payload.shape[1], 2)
  local fewer_there = on_device:slice(1, 1, payload.shape[1], 2)
  assert.same(fewer:dequantize(format):flat(), fewer_there:dequantize(format):flat())
end

describe("rows as bytes on a device", function()
  for _, format in ipairs { "int8", "fp8" } do
    for _, dtype in ipairs { "f32", "f64", "bf16", "f16" } do
      it(("are the CPU's: %s of %s"):format(format, dtype), function()
        for _, shape in ipairs { { 9, 24 }, { 3, 4, 5 }, { 40, 1 }, { 2, 3000 }, { 5, 257 } } do
          local x = rows(shape, dtype)
          agree(x, there(x), format)
        end
        local x = rows({ 6, 5, 24 }, dtype)
        local g = there(x)
        agree(x:permute(2, 1, 3), g:permute(2, 1, 3), format)
        agree(x:permute(3, 1, 2), g:permute(3, 1, 2), format)
        agree(x:slice(3, 2, 20, 3), g:slice(3, 2, 20, 3), format)
      end)
    end

    it("decode every byte: " .. format, function()
      local bytes = mosaic.arange(0, 255, { device = "cpu" }):reshape(8, 32)
      local scale = mosaic.tensor({ { 0, 0, 0, 62 } }, { device = "cpu" }):to "i64":expand(8, 4) -- 1/8
      local payload = mosaic.cat({ bytes, scale }, 2):to "u8"
      local plain = payload:dequantize(format):flat()
      for i, x in ipairs(there(payload):dequantize(format):flat()) do
        assert(x == plain[i] or (x ~= x and plain[i] ~= plain[i]))
      end
    end)

    it("name the first row that does not fit: " .. format, function()
      local x = mosaic.ones { 3, 70, 5, device = device.name }
      x:set(2, 69, 4, -math.huge)
      x:set(3, 1, 1, 0 / 0)
      local says = "quantize: row [2,69] of f32 [3,70,5] holds inf, %s carries numbers up to 1.70141e+38"
      fails(says:format(format), function() x:quantize(format) end)
      fails(("quantize: row 1 of f32 [70,5] holds nan, %s carries"):format(format),
        function() x:select(1, 3):quantize(format) end)
      local half = mosaic.full({ 2, 5, dtype = "f16", device = device.name }, 62000)
      fails(("row 1 of f16 [2,5] holds 62016, %s carries numbers up to 61440"):format(format),
        function() half:quantize(format) end)
    end)
  end
end)
