local ffi = require "ffi"
local mosaic = require "mosaic"
local close = require "spec.support.close"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"

local nan = 0 / 0

--- The values of all fp8 codes by their definition: e4m3 with bias 7, without infinities.
local FP8 = {}
for code = 0, 255 do
  local exponent, mantissa = math.floor(code / 8) % 16, code % 8
  local value = exponent == 0 and mantissa * 2 ^ -9 or (8 + mantissa) * 2 ^ (exponent - 10)
  if code % 128 == 127 then value = nan end
  FP8[code] = code < 128 and value or -value
end

local scale_cell = ffi.new "union { uint8_t bytes[4]; float value; }"

--- The payload's rows as { bytes, scale }.
local function rows_of(payload)
  local list, width, rows = payload:flat(), payload:size(-1), {}
  for first = 1, #list, width do
    for i = 0, 3 do scale_cell.bytes[i] = list[first + width - 4 + i] end
    rows[#rows + 1] = { bytes = { unpack(list, first, first + width - 5) }, scale = scale_cell.value }
  end
  return rows
end

local function largest(row)
  local most = 0
  for _, x in ipairs(row) do most = math.max(most, math.abs(x)) end
  return most
end

local check_row = {}

--- The smallest scale of 17 bits (1 for halves) that brings the row into -127..127; every value at its
-- nearest.
function check_row.int8(row, bytes, scale, dtype)
  local bits = (dtype == "bf16" or dtype == "f16") and 1 or 17
  local fraction, exponent = math.frexp(scale)
  local step = math.ldexp(1, exponent - bits - (fraction == 0.5 and 1 or 0)) -- to the next smaller one
  assert.equal(0, fraction * 2 ^ bits % 1)
  assert(largest(row) <= 127 * scale * (1 + 1e-15) and scale >= 2 ^ -126)
  assert(scale == 2 ^ -126 or largest(row) > 127 * (scale - step), "a smaller scale would do")
  for i, x in ipairs(row) do
    local q = bytes[i] < 128 and bytes[i] or bytes[i] - 256
    local rest = math.abs(x - q * scale) -- exact
    assert(rest < scale / 2 or rest == scale / 2 and q % 2 == 0,
      ("%.17g became %d with scale %.17g"):format(x, q, scale))
  end
end

--- The smallest power of two under which the row's largest value rounds to 448 at most.
function check_row.fp8(row, bytes, scale)
  assert(math.frexp(scale) == 0.5 and scale >= 2 ^ -126 and largest(row) <= 464 * scale)
  assert(scale == 2 ^ -126 or largest(row) > 232 * scale, "a smaller scale would do")
  for i, x in ipairs(row) do
    local best, distance = nil, math.huge
    for code = 0, 255 do
      local d = math.abs(FP8[code] - x / scale)
      local better = d < distance or d == distance and code % 2 == 0 and best % 2 == 1
      if better and (code < 128) == not (x < 0 or 1 / x < 0) then best, distance = code, d end
    end
    assert.equal(best, bytes[i], ("%.17g with scale %.17g"):format(x, scale))
  end
end

local function check_all(x, format)
  local values, d = x:flat(), x:size(-1)
  for r, row in ipairs(rows_of(x:quantize(format))) do
    check_row[format]({ unpack(values, (r - 1) * d + 1, r * d) }, row.bytes, row.scale, x.dtype)
  end
end

describe("quantize", function()
  it("rounds to the nearest int8, halves to the even one", function()
    local row = rows_of(mosaic.tensor({ 127, -63.5, 0.5, 1.5, 2.5, -0.0, -126.75 }):quantize "int8")[1]
    assert.equal(1, row.scale)
    assert.same({ 127, 256 - 64, 0, 2, 2, 0, 256 - 127 }, row.bytes)
  end)

  it("rounds to the nearest fp8, halves to the even one", function()
    local row = rows_of(mosaic.tensor({ 448, 1, -1.0625, 1.1875, 17, 19, 2 ^ -10, -3 * 2 ^ -10, 0 })
      :quantize "fp8")[1]
    assert.equal(1, row.scale)
    assert.same({ 0x7e, 0x38, 0x80 + 0x38, 0x3a, 0x58, 0x5a, 0, 0x80 + 2, 0 }, row.bytes)
    -- 464 is halfway between 448, which is even, and the 480 that fp8 does not have
    assert.same({ { bytes = { 0x7e }, scale = 1 } }, rows_of(mosaic.tensor({ 464 }):quantize "fp8"))
    assert.same({ { bytes = { 0x77 }, scale = 2 } }, rows_of(mosaic.tensor({ 464.1 }):quantize "fp8"))
  end)

  it("gives the nearest values in every dtype, row length and magnitude", function()
    for _, format in ipairs { "int8", "fp8" } do
      for _, dtype in ipairs { "f32", "f64", "bf16", "f16" } do
        for seed, d in ipairs { 1, 3, 17, 24, 67 } do
          local gain = dtype == "f16" and seed or 10 ^ (9 * (seed - 3))
          check_all((fill({ 3, d }, { seed = seed }) * gain):to(dtype), format)
        end
      end
    end
  end)

  it("tells halves from their neighbours", function()
    for _, scale in ipairs { 1, 1.3125, 1 + 2 ^ -16, 1.5 + 2 ^ -16, 2 - 2 ^ -16 } do
      local values = { 127 * scale }
      for n = 0, 125 do
        for side = -1, 1 do
          values[#values + 1] = (n + 0.5) * scale * (1 + side * 2 ^ -24) * (n % 3 == 0 and -1 or 1)
        end
      end
      for _, dtype in ipairs { "f32", "f64" } do
        check_all(mosaic.tensor(values, { dtype = dtype }), "int8")
        check_all(mosaic.tensor(values, { dtype = dtype }), "fp8")
      end
    end
  end)

  it("decodes to bytes times scale", function()
    for _, format in ipairs { "int8", "fp8" } do
      local payload = fill { 4, 5, 24 }:quantize(format)
      local expected = {}
      for _, row in ipairs(rows_of(payload)) do
        for _, byte in ipairs(row.bytes) do
          local number = format == "fp8" and FP8[byte] or byte < 128 and byte or byte - 256
          expected[#expected + 1] = number * row.scale
        end
      end
      assert.same(expected, payload:dequantize(format, "f64"):flat())
      assert.same(expected, payload:dequantize(format):flat())
      assert.same(mosaic.tensor(expected):to "bf16":flat(), payload:dequantize(format, "bf16"):flat())
    end
    local codes = {}
    for code = 0, 255 do codes[code + 1] = code end
    for i, byte in ipairs { 0, 0, 128, 63 } do codes[256 + i] = byte end -- scale 1
    local decoded = mosaic.tensor(codes, { dtype = "u8" }):dequantize "fp8":flat()
    for code = 0, 255 do close(decoded[code + 1], FP8[code]) end
  end)

  it("changes nothing the second time", function()
    local function again(format, dtype, gain)
      local first = (fill({ 50, 7 }, { seed = 9 }) * gain):to(dtype):quantize(format)
      local decoded = first:dequantize(format, dtype)
      assert.same(first:flat(), decoded:quantize(format):flat())
      assert.same(first:dequantize(format, "f64"):flat(), decoded:flat())
    end
    for _, format in ipairs { "int8", "fp8" } do
      for _, dtype in ipairs { "f32", "f64" } do
        for _, gain in ipairs { 1, 2 ^ 126.9, 1e-20, 2 ^ -119, 2 ^ -125, 2 ^ -130, 2 ^ -148 } do
          again(format, dtype, gain)
        end
      end
      for _, gain in ipairs { 1, 2 ^ 126.9, 2 ^ -120, 2 ^ -125, 2 ^ -132 } do again(format, "bf16", gain) end
      for _, gain in ipairs { 1, 61440, 2 ^ -8, 2 ^ -14, 2 ^ -20, 2 ^ -23 } do again(format, "f16", gain) end
    end
  end)

  it("keeps int8 within half a scale, fp8 within 2^-4 of the value", function()
    local x = fill({ 40, 64 }, { dtype = "f32" })
    local error = (x:quantize "int8":dequantize "int8" - x):abs()
    local scale = x:abs():max(-1, true) * (1 / 127 * (1 + 2 ^ -16) / 2)
    assert.equal(1, error:le(scale):all():item())
    assert(error:max():item() > 0.49 * scale:min():item(), "the bound is reached")
    error = (x:quantize "fp8":dequantize "fp8" - x):abs()
    assert.equal(1, error:le(x:abs() * 2 ^ -4 + 2 ^ -10 * 2 ^ -8):all():item())
    assert((error / x:abs()):max():item() > 0.9 * 2 ^ -4, "the bound is reached")
  end)

  it("takes views of any strides, and rows of nothing", function()
    local x = fill({ 5, 6, 4, 3 }, { dtype = "f32" })
    for _, view in ipairs { x:permute(3, 4, 1, 2), x:slice(4, 1, 3, 2), x:slice(1, 2, 4, 2), x:t() } do
      for _, format in ipairs { "int8", "fp8" } do
        assert.same(view:contiguous():quantize(format):flat(), view:quantize(format):flat())
        local payload = view:quantize(format)
        assert.same(payload:dequantize(format):flat(),
          payload:t():contiguous():t():dequantize(format):flat())
      end
    end
    assert.same({ 0, 7 }, mosaic.zeros { 0, 3 }:quantize("int8").shape)
    assert.same({ 2, 0 }, mosaic.zeros { 2, 0 }:quantize("fp8"):dequantize("fp8").shape)
  end)

  it("keeps zero rows zero", function()
    for _, format in ipairs { "int8", "fp8" } do
      local x = mosaic.tensor { { 0, 0, 0 }, { 1, 2, 3 } }
      assert.same({ 0, 0, 0 }, x:quantize(format):dequantize(format)[1]:tolist())
    end
  end)

  it("refuses what a row cannot carry, naming the row", function()
    local x = fill { 2, 3, 4 }
    x:set(2, 1, 4, nan)
    x:set(2, 3, 1, math.huge)
    fails("quantize: row [2,1] of f64 [2,3,4] holds nan, int8 carries numbers up to 1.70141e+38",
      function() x:quantize "int8" end)
    fails("quantize: row [1,2] of f64 [1,2,4] holds inf, fp8 carries",
      function() x:slice(1, 2, 2):slice(2, 2, 3):quantize "fp8" end)
    fails("quantize: row 2 of f64 [2,1] holds 2e+38",
      function() mosaic.tensor({ { 1 }, { -2e38 } }, { dtype = "f64" }):quantize "int8" end)
    fails("quantize: row 1 of f16 [1,2] holds 65504, fp8 carries numbers up to 61440",
      function() mosaic.tensor({ { 1, 65504 } }, { dtype = "f16" }):quantize "fp8" end)
    assert.equal(2 ^ 127, mosaic.tensor({ 2 ^ 127 }):quantize "fp8":dequantize("fp8"):item())
  end)

  it("refuses other operands and formats", function()
    fails("quantize: expected rows of a float tensor, got i64 [3]",
      function() mosaic.arange(1, 3):quantize "int8" end)
    fails("quantize: format \"int4\" is not one of fp8, int8", function() fill { 3 }:quantize "int4" end)
    fails("dequantize: expected u8 rows of at least 4 bytes, got f64 [3]",
      function() fill { 3 }:dequantize "int8" end)
    fails("dequantize: expected u8 rows of at least 4 bytes, got u8 [3]",
      function() mosaic.zeros { 3, dtype = "u8" }:dequantize "int8" end)
    fails("dequantize: i64 is not a float",
      function() mosaic.zeros { 5, dtype = "u8" }:dequantize("int8", "i64") end)
  end)
end)
