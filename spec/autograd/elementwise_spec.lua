local mosaic = require "mosaic"
local close = require "spec.support.close"
local fill = require "spec.support.fill"

local function leaf(shape, seed) return fill(shape, { seed = seed, requires_grad = true }) end

describe("gradients of functions", function()
  local x, positive = leaf({ 3, 4 }, 1), fill({ 3, 4 }, { seed = 2 }):add(1.5):requires_grad_()

  for _, name in ipairs {
    "neg", "abs", "sign", "square", "relu", "floor", "ceil", "round", "reciprocal", "exp", "expm1", "sin",
    "cos", "tanh", "sigmoid", "erf", "gelu", "silu", "softplus", "elu", "selu", "leaky_relu", "relu6",
    "hardtanh",
  } do
    it(name, function() mosaic.gradcheck(function(a) return a[name](a) end, { x }) end)
  end
  for _, name in ipairs { "sqrt", "rsqrt", "log", "log2", "log1p" } do
    it(name, function() mosaic.gradcheck(function(a) return a[name](a) end, { positive }) end)
  end
  for name, f in pairs {
    ["gelu, tanh"] = function(a) return a:gelu "tanh" end,
    ["softplus, beta 3"] = function(a) return a:softplus(3) end,
    ["elu, alpha 0.5"] = function(a) return a:elu(0.5) end,
    ["leaky_relu, slope 0.3"] = function(a) return a:leaky_relu(0.3) end,
    ["clamp to [-0.5, 0.6]"] = function(a) return a:clamp(-0.5, 0.6) end,
    ["clamp from below"] = function(a) return a:clamp(0.1) end,
    ["strided and reused"] = function(a) return a:t():gelu() * a:t() end,
  } do
    it(name, function() mosaic.gradcheck(f, { x }) end)
  end

  it("in f32 and bf16 are close to those of f64, far out too", function()
    local values = {}
    for i = -40, 40 do values[#values + 1] = i / 4 + 0.01 end
    for _, name in ipairs { "gelu", "tanh", "sigmoid", "silu", "softplus", "elu", "erf" } do
      local function gradient(dtype)
        local a = mosaic.tensor(values, { dtype = "bf16" }):to(dtype):requires_grad_()
        a[name](a):sum():backward()
        assert.equal(dtype, a.grad.dtype)
        return a.grad
      end
      close(gradient "f32", gradient("f64"):tolist(), 5e-7)
      close(gradient "bf16", gradient("f64"):tolist(), 2 ^ -7)
    end
  end)
end)

describe("gradients of two operands", function()
  local shapes = { { { 3, 4 }, { 3, 4 } }, { { 3, 4 }, { 4 } }, { { 3, 1 }, { 2, 1, 4 } }, { {}, { 3 } } }

  for _, name in ipairs { "add", "sub", "mul", "div", "maximum", "minimum" } do
    it(name .. ", broadcast either way", function()
      for _, pair in ipairs(shapes) do
        local a, b = leaf(pair[1], 1), leaf(pair[2], 2)
        mosaic.gradcheck(function(p, q) return p[name](p, q), q[name](q, p) end, { a, b })
      end
    end)
  end

  it("with numbers on either side, and alpha", function()
    local a, b = leaf({ 2, 3 }, 1), leaf({ 3 }, 2)
    mosaic.gradcheck(function(x, y)
      return x + 2, 2 - x, x - 3, x * 0.5, 3 / x, x / 4, x:add(y, 3), x:sub(y, -2), x:maximum(0.1),
        x:minimum(0.1)
    end, { a, b })
  end)

  it("pow, by tensors and numbers", function()
    local a, b = fill({ 2, 3 }, { seed = 1 }):add(1.5):requires_grad_(), leaf({ 3 }, 2)
    mosaic.gradcheck(function(x, y) return x ^ y, x ^ 3, x ^ 0.5, x ^ 0, 2 ^ y end, { a, b })
    mosaic.gradcheck(function(x) return 0 ^ x end, { a })
    local zero = mosaic.zeros { 2, dtype = "f64", requires_grad = true }
    local total = zero ^ 2 + zero ^ 1 + zero ^ 0
    total:sum():backward()
    assert.same({ 1, 1 }, zero.grad:flat())
  end)

  it("share the gradient of a tie", function()
    local a = mosaic.ones { 2, requires_grad = true }
    local b = mosaic.ones { 2, requires_grad = true }
    a:maximum(b):sum():backward()
    assert.same({ 0.5, 0.5 }, a.grad:flat())
    assert.same({ 0.5, 0.5 }, b.grad:flat())
  end)

  it("arrive in each operand's own dtype", function()
    local a = mosaic.ones { 2, 3, dtype = "bf16", requires_grad = true }
    local b = mosaic.full({ 3, dtype = "f64", requires_grad = true }, 2)
    local product = a * b
    product:sum():backward()
    assert.equal("bf16", a.grad.dtype)
    assert.equal("f64", b.grad.dtype)
    assert.same({ 2, 2, 2 }, b.grad:flat())
  end)
end)

describe("gradients of choices", function()
  it("where, masked_fill, lerp, addcmul and addcdiv", function()
    local a, b, c = leaf({ 2, 3 }, 1), leaf({ 3 }, 2), fill({ 2, 1 }, { seed = 3 }):add(2):requires_grad_()
    local mask = fill({ 2, 3 }, { seed = 4 }):gt(0)
    mosaic.gradcheck(function(x, y, z)
      return mosaic.where(mask, x, y), mosaic.where(mask, 1, y), mosaic.where(mask, x, 2),
        x:masked_fill(mask, 5), x:lerp(y, 0.3), x:lerp(y, z), x:addcmul(y, z, 2), y:addcdiv(x, z, -1)
    end, { a, b, c })
  end)

  it("send nothing through the branch that was not taken", function()
    local x = mosaic.tensor({ 0, 4 }, { dtype = "f64" }):requires_grad_()
    mosaic.where(x:eq(0), 0, x:masked_fill(x:eq(0), 1):sqrt()):sum():backward()
    assert.same({ 0, 0.25 }, x.grad:flat())
  end)
end)

describe("gradients of reductions", function()
  local x = leaf({ 3, 4, 2 }, 1)

  for _, name in ipairs { "sum", "mean", "prod", "amax", "amin", "norm", "logsumexp", "var", "std" } do
    it(name .. " over one, several and all axes", function()
      mosaic.gradcheck(function(a)
        return a[name](a), a[name](a, 2), a[name](a, { 1, -1 }), a:t()[name](a:t(), 3)
      end, { x })
    end)
  end

  it("with keepdim, and without Bessel's correction", function()
    mosaic.gradcheck(function(a)
      return a - a:mean(2, true), a:sum({ 1, 3 }, true) * a,
        a:var(2, { unbiased = false, keepdim = true }) * a
    end, { x })
  end)

  it("max and min along an axis go to the first of equals, without one to all of them", function()
    mosaic.gradcheck(function(a) return (a:max(2)), (a:min(-1, true)), a:max(), a:min() end, { x })
    local tie = mosaic.tensor { { 2, 2, 1 } }:requires_grad_()
    tie:max(2):sum():backward()
    assert.same({ 1, 0, 0 }, tie.grad:flat())
    tie.grad = nil
    tie:max():backward()
    assert.same({ 0.5, 0.5, 0 }, tie.grad:flat())
  end)

  it("prod around one zero and two", function()
    local one = mosaic.tensor({ { 2, 0, 3 }, { 0, 0, 3 } }, { dtype = "f64" }):requires_grad_()
    one:prod(2):sum():backward()
    assert.same({ 0, 6, 0, 0, 0, 0 }, one.grad:flat())
  end)

  it("norm of zeros is 0, not NaN; logsumexp of -inf too", function()
    local zero = mosaic.zeros { 3, requires_grad = true }
    zero:norm():backward()
    assert.same({ 0, 0, 0 }, zero.grad:flat())
    local nothing = mosaic.full({ 2, dtype = "f64" }, -math.huge):requires_grad_()
    nothing:logsumexp():backward()
    assert.same({ 0, 0 }, nothing.grad:flat())
  end)
end)
