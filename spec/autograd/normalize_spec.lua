local mosaic = require "mosaic"
local close = require "spec.support.close"
local fill = require "spec.support.fill"

local function leaf(shape, seed) return fill(shape, { seed = seed, requires_grad = true }) end

describe("gradients of rows", function()
  for _, name in ipairs { "softmax", "log_softmax" } do
    it(name .. " along each axis, strided too", function()
      for axis = 1, 3 do
        mosaic.gradcheck(function(x) return x[name](x, axis) end, { leaf { 2, 3, 17 } })
        mosaic.gradcheck(function(x) return x:permute(3, 1, 2)[name](x:permute(3, 1, 2), axis) end,
          { leaf { 2, 3, 4 } })
      end
    end)
  end

  it("layer_norm and rms_norm with every choice of weight and bias", function()
    for _, shape in ipairs { { 5 }, { 3, 1 }, { 4, 9 }, { 2, 3, 17 } } do
      local n = { shape[#shape] }
      local x, w, b = leaf(shape), leaf(n, 1), leaf(n, 2)
      mosaic.gradcheck(function(y) return y:layer_norm() end, { x })
      mosaic.gradcheck(function(y, v) return y:layer_norm(v) end, { x, w })
      mosaic.gradcheck(function(y, v) return y:layer_norm(nil, v, 1e-2) end, { x, b })
      mosaic.gradcheck(function(y, v, u) return y:layer_norm(v, u) end, { x, w, b })
      mosaic.gradcheck(function(y) return y:rms_norm() end, { x })
      mosaic.gradcheck(function(y, v) return y:rms_norm(v, 1e-2) end, { x, w })
    end
  end)

  it("add_layer_norm, of one tensor twice too", function()
    for _, shape in ipairs { { 5 }, { 4, 9 }, { 2, 3, 17 } } do
      local n = { shape[#shape] }
      local x, z, w, b = leaf(shape), leaf(shape, 3), leaf(n, 1), leaf(n, 2)
      mosaic.gradcheck(function(y, r) return y:add_layer_norm(r) end, { x, z })
      mosaic.gradcheck(function(y, r, v, u) return y:add_layer_norm(r, v, u, 1e-2) end, { x, z, w, b })
      mosaic.gradcheck(function(y, v) return y:add_layer_norm(y, v) end, { x, w })
      mosaic.gradcheck(function(r) return x:detach():add_layer_norm(r) end, { z })
    end
  end)

  it("layer_norm of a permuted input", function()
    mosaic.gradcheck(function(y, v) return y:permute(2, 3, 1):layer_norm(v) end,
      { leaf { 4, 3, 2 }, leaf({ 4 }, 1) })
  end)

  it("adds dweight and dbias up over many rows, alike on one and three threads", function()
    local C = require "mosaic.ffi"
    local before = C.mosaic_threads()
    local x, g = fill({ 3001, 20 }, { dtype = "f32" }), fill({ 3001, 20 }, { dtype = "f32", seed = 3 })
    local function gradients(dtype)
      local w = fill({ 20 }, { dtype = dtype, seed = 1, requires_grad = true })
      local b = fill({ 20 }, { dtype = dtype, seed = 2, requires_grad = true })
      x:to(dtype):layer_norm(w, b):backward(g:to(dtype))
      return w.grad, b.grad
    end
    C.mosaic_set_threads(1)
    local w, b = gradients "f32"
    C.mosaic_set_threads(3)
    local w3, b3 = gradients "f32"
    C.mosaic_set_threads(before)
    assert.same({ w:flat(), b:flat() }, { w3:flat(), b3:flat() })
    local w64, b64 = gradients "f64"
    close(w, w64:tolist(), 1e-5)
    close(b, b64:tolist(), 1e-5)
  end)

  it("gives zeros for no rows", function()
    local w = leaf { 3 }
    mosaic.zeros { 0, 3, dtype = "f64" }:layer_norm(w):backward(mosaic.zeros { 0, 3, dtype = "f64" })
    assert.same({ 0, 0, 0 }, w.grad:flat())
  end)
end)
