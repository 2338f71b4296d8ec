--- Rows in fewer bytes for the way between ranks: what is sent, what arrives, and what it costs.
--
--   local payload = wire.encode(k, "int8")           one tensor; its rows travel as k's would
--   local received = wire.decode(payload, "int8", k.dtype)
--   local same = wire.round(k, "int8")               both at once, differentiable
--
-- Formats: "bf16" (2 bytes an element; f16 stays as it is), "fp8" (e4m3) and "int8" (1 byte an element and
-- a scale of 4 bytes for each row of the last axis). The owner of a row rounds it once, and everyone
-- computes with what it decodes to, the owner too: so the result does not depend on the number of ranks.
-- The gradient passes through the rounding unchanged, and travels in full precision.
-- Decoding is exact in x's dtype, so rows that were rounded once can travel any number of times.
-- Rows that fp8 and int8 cannot carry (inf, NaN, more than 2^127) are errors; bf16 keeps inf and NaN.
local check = require "mosaic.check"
local Function = require "mosaic.autograd.function"
local operand = require "mosaic.tensor.operand"
local quantize = require "mosaic.tensor.quantize"
local tape = require "mosaic.autograd.tape"

local wire = { FORMATS = { "bf16", "fp8", "int8" } }

local FLOATS = { f32 = true, f64 = true, bf16 = true, f16 = true }

--- The format, one of wire.FORMATS.
function wire.check(format, where)
  return check.one_of(where or "wire.check", "wire", format, wire.FORMATS)
end

--- The tensor that travels for x (..., rows, d): its sizes, but for the last.
function wire.encode(x, format)
  wire.check(format, "wire.encode")
  operand("wire.encode", "x", x)
  if not FLOATS[x.dtype] then check.fail("wire.encode: expected rows of floats, got %s", x:describe()) end
  if format ~= "bf16" then return x:quantize(format) end
  return x.dtype == "f16" and x or x:detach():to "bf16"
end

--- Its shape and dtype for an x of this shape and dtype.
function wire.form(format, shape, dtype)
  if wire.check(format, "wire.form") == "bf16" then return shape, dtype == "f16" and dtype or "bf16" end
  local sizes = { unpack(shape) }
  sizes[#sizes] = sizes[#sizes] + quantize.SCALE_BYTES
  return sizes, "u8"
end

--- What the receivers compute with, in the dtype of the tensor that was encoded.
function wire.decode(payload, format, dtype)
  wire.check(format, "wire.decode")
  operand("wire.decode", "the payload", payload)
  if format == "bf16" then return payload:to(dtype or "f32") end
  return payload:dequantize(format, dtype)
end

local round = Function("wire", {
  forward = function(_, x, format) return wire.decode(wire.encode(x, format), format, x.dtype) end,
  backward = function(_, g) return g end,
})

--- x as it arrives; its gradient passes through unchanged.
function wire.round(x, format)
  wire.check(format, "wire.round")
  operand("wire.round", "x", x)
  return round(x, format)
end

--- Bytes on the wire of a row with d elements; format nil: as they are, `bytes` each.
function wire.bytes(format, d, bytes)
  check.integer("wire.bytes", "d", d, 0)
  if not format then return d * check.integer("wire.bytes", "the bytes of an element", bytes, 1) end
  return wire.check(format, "wire.bytes") == "bf16" and 2 * d or d + quantize.SCALE_BYTES
end

--- What the rounding does to x: { max, rms } of the error, relative to the largest magnitude of x and to
-- its root mean square.
function wire.error(x, format)
  wire.check(format, "wire.error")
  operand("wire.error", "x", x)
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
