local mosaic = require "mosaic"
local close = require "spec.support.close"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"

local wire = mosaic.wire

local BOUND = { bf16 = 2 ^ -9, fp8 = 2 ^ -4, int8 = 1 / 127 } -- of halves; int8 of floats half of that

describe("wire", function()
  it("decodes what it encoded, in the dtype of x, and says how many bytes it was", function()
    for _, dtype in ipairs { "f32", "f64", "bf16", "f16" } do
      local x = fill({ 2, 5, 12 }, { dtype = dtype })
      for format, bytes in pairs { bf16 = 24, fp8 = 16, int8 = 16 } do
        local payload = wire.encode(x, format)
        assert.same({ 2, 5 }, { payload:size(1), payload:size(2) })
        assert.equal(bytes, wire.bytes(format, 12))
        assert.equal(bytes, payload:size(-1) * (format == "bf16" and 2 or 1))
        local decoded = wire.decode(payload, format, dtype)
        assert.equal(dtype, decoded.dtype)
        close(decoded, x:to "f64", BOUND[format])
        assert.same(decoded:flat(), wire.round(x, format):flat())
      end
    end
  end)

  it("encodes its own results to the same bytes", function()
    for _, format in ipairs(wire.FORMATS) do
      for _, dtype in ipairs { "f32", "f64", "bf16", "f16" } do
        local rounded = wire.round(fill({ 9, 7 }, { dtype = dtype }), format)
        assert.same(rounded:flat(), wire.round(rounded, format):flat())
        assert.same(wire.encode(rounded, format):flat(),
          wire.encode(wire.round(rounded, format), format):flat())
      end
    end
  end)

  it("lets the gradient pass unchanged", function()
    for _, format in ipairs(wire.FORMATS) do
      local x, g = fill({ 3, 4 }, { requires_grad = true }), fill({ 3, 4 }, { seed = 1 })
      wire.round(x, format):backward(g)
      assert.same(g:flat(), x.grad:flat())
      assert.equal("f64", x.grad.dtype)
    end
    local half = fill({ 3, 4 }, { dtype = "bf16", requires_grad = true })
    wire.round(half, "bf16"):sum():backward()
    close(half.grad, mosaic.ones { 3, 4 })
  end)

  it("measures its error", function()
    local x = mosaic.tensor({ { 127, 0.5, 100.25 }, { -254, 3, 0 } }, { dtype = "f64" })
    local error = wire.error(x, "int8") -- off by 0.5, 0.25 and (3 lies between 2 and 4) 1
    close(error.max, 1 / 254)
    close(error.rms, math.sqrt((0.25 + 0.0625 + 1) / (127 ^ 2 + 0.25 + 100.25 ^ 2 + 254 ^ 2 + 9)))
    assert.same({ max = 0, rms = 0 }, wire.error(mosaic.zeros { 2, 2 }, "fp8"))
    assert.same({ max = 0, rms = 0 }, wire.error(mosaic.zeros { 0, 2 }, "fp8"))
  end)

  it("is about 2^-9 (bf16), 1/100 (int8) and 1/40 (fp8) on normal numbers", function()
    mosaic.manual_seed(3)
    local x = mosaic.randn { 200, 64 }
    for format, bound in pairs { bf16 = { 0.0008, 0.002 }, int8 = { 0.005, 0.01 }, fp8 = { 0.02, 0.03 } } do
      local rms = wire.error(x, format).rms
      assert(rms > bound[1] and rms < bound[2], ("%s: %g"):format(format, rms))
    end
  end)

  it("refuses formats that it does not know", function()
    local x = fill { 2, 2 }
    fails("wire.encode: wire \"int4\" is not one of bf16, fp8, int8 (did you mean 'int8'?)",
      function() wire.encode(x, "int4") end)
    fails("wire.round: wire nil is not one of", function() wire.round(x) end)
    fails("quantize: row 2 of f64 [2,2] holds inf", function()
      x:set(2, 1, math.huge)
      wire.round(x, "int8")
    end)
  end)
end)
