--- Rows in fewer bytes for the way between ranks: what is sent, what arrives, and what it costs.
--
--   local payload = wire.encode(k, "int8")           one tensor; its rows travel as k's would
--   local received = wire.decode(payload, "int8", k.dtype)
--   local same = wire.round(k, "int8")               both at once, differentiable
--
-- Formats: "bf16" (2 bytes an element; f16 stays as it is), "fp8" (e4m3) and "int8" (1 byte an element and
-- a scale of 4 bytes for each row of the last axis). The owner of a row encodes it once, and everyone computes with what it
-- decodes to, the owner too: so the result does not depend on the number of ranks. The gradient passes
-- through the rounding unchanged, and travels in full precision.
-- Decoding is exact in x's dtype, so rows that were rounded once can travel any number of times.
-- Rows that fp8 and int8 cannot carry (inf, NaN, more than 2^127) are errors; bf16 keeps inf and NaN.
local check = require "mosaic.check"
local create = require "mosaic.tensor.create"
local Function = require "mosaic.autograd.function"
local quantize = require "mosaic.tensor.quantize"
local tape = require "mosaic.autograd.tape"

local wire = { FORMATS = { "bf16", "fp8", "int8" } }

--- Fails unless format is one of wire.FORMATS.
function wire.check(where, format)
  return check.one_of(where, "wire", format, wire.FORMATS)
end

--- The tensor that travels for x (..., rows, d): its sizes, but for the last.
function wire.encode(x, format)
  if wire.check("wire.encode", format) ~= "bf16" then return x:quantize(format) end
  return x.dtype == "f16" and x or x:to "bf16"
end

--- What the receivers compute with, in the dtype of the tensor that was encoded.
function wire.decode(payload, format, dtype)
  if wire.check("wire.decode", format) == "bf16" then return payload:to(dtype or "f32") end
  return payload:dequantize(format, dtype)
end

local round = Function("wire", {
  forward = function(_, x, format) return wire.decode(wire.encode(x, format), format, x.dtype) end,
  backward = function(_, g) return g end,
})

--- x as it arrives; its gradient passes through unchanged.
function wire.round(x, format)
  wire.check("wire.round", format)
  return round(x, format)
end

--- Bytes on the wire of a row with d elements; format nil: as it is, in `dtype`.
function wire.bytes(format, d, dtype)
  if not format then return d * create.bytes("wire.bytes", dtype) end
  if wire.check("wire.bytes", format) == "bf16" then return 2 * d end
  return d + quantize.SCALE_BYTES
end

--- What the rounding does to x: { max, rms } of the error, relative to the largest magnitude of x and to
-- its root mean square.
function wire.error(x, format)
  wire.check("wire.error", format)
  return tape.no_grad(function()
    local exact = x:to "f64"
    local largest = x:numel() > 0 and exact:abs():max():item() or 0
    if largest == 0 then return { max = 0, rms = 0 } end
    local difference = wire.round(x, format):to "f64" - exact
    return {
      max = difference:abs():max():item() / largest,
      rms = difference:norm():item() / exact:norm():item(),
    }
  end)
end

return wire
