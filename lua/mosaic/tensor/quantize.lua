--- Rows as bytes: a byte per element and a scale per row (the last axis). No gradient; wire.lua has one.
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local create = require "mosaic.tensor.create"
local Tensor = require "mosaic.tensor.class"

local FORMATS = { fp8 = C.MOSAIC_ROW_FP8, int8 = C.MOSAIC_ROW_INT8 }

local function number_of(where, format)
  return FORMATS[format] or check.one_of(where, "format", format, { "fp8", "int8" })
end

--- u8 (..., d + 4) for the rows of (..., d): d bytes, then the scale. Format "fp8" (e4m3) or "int8".
-- Each value is the nearest one that the row's scale allows; a row with inf, NaN or more than 2^127 (f16:
-- 61440) is an error.
function Tensor:quantize(format)
  local c = Tensor.blank()
  check.call("mosaic_quantize", c, self.c, number_of("quantize", format))
  return (Tensor.wrap(c))
end

--- The rows that quantize made bytes of: exact in the dtype that they had, f32 by default.
function Tensor:dequantize(format, dtype)
  local c = Tensor.blank()
  check.call("mosaic_dequantize", c, self.c, number_of("dequantize", format),
    create.dtype("dequantize", dtype))
  return (Tensor.wrap(c))
end

return { SCALE_BYTES = C.MOSAIC_ROW_SCALE_BYTES }
