local mosaic = require "mosaic"
local close = require "spec.support.close"
local fill = require "spec.support.fill"

local function leaf(shape, seed) return fill(shape, { seed = seed, requires_grad = true }) end

describe("gradients of products", function()
  for _, case in ipairs {
    { { 3, 4 }, { 4, 5 } }, { { 4 }, { 4, 5 } }, { { 3, 4 }, { 4 } }, { { 4 }, { 4 } },
    { { 2, 3, 4 }, { 4, 5 } }, { { 2, 3, 4 }, { 4 } }, { { 2, 3, 4 }, { 2, 4, 5 } },
    { { 3, 4 }, { 2, 4, 5 } }, { { 4 }, { 2, 4, 5 } }, { { 2, 1, 3, 4 }, { 3, 4, 2 } },
    { { 2, 0 }, { 0, 3 } },
  } do
    it(("matmul [%s] x [%s]"):format(table.concat(case[1], ","), table.concat(case[2], ",")), function()
      mosaic.gradcheck(function(a, b) return a:matmul(b) end, { leaf(case[1], 1), leaf(case[2], 2) })
    end)
  end

  it("matmul of permuted operands", function()
    mosaic.gradcheck(function(a, b) return a:permute(2, 1, 3):matmul(b:t()) end,
      { leaf({ 2, 3, 4 }, 1), leaf({ 5, 4 }, 2) })
  end)

  it("linear with and without bias, of a vector and of a stack", function()
    local w, b = leaf({ 5, 4 }, 1), leaf({ 5 }, 2)
    for _, shape in ipairs { { 4 }, { 3, 4 }, { 2, 3, 4 }, { 0, 4 } } do
      mosaic.gradcheck(function(x, weight) return mosaic.linear(x, weight) end, { leaf(shape), w })
      mosaic.gradcheck(mosaic.linear, { leaf(shape), w, b })
    end
  end)

  it("linear and gelu in one", function()
    local w, b = leaf({ 5, 4 }, 1), leaf({ 5 }, 2)
    for _, kind in ipairs { "none", "tanh" } do
      for _, shape in ipairs { { 4 }, { 2, 3, 4 }, { 0, 4 } } do
        local function f(x, weight, bias) return x:linear_gelu(weight, bias, kind) end
        mosaic.gradcheck(f, { leaf(shape), w })
        mosaic.gradcheck(f, { leaf(shape), w, b })
      end
    end
  end)

  it("linear, gelu and linear in one", function()
    local w1, b1, w2, b2 = leaf({ 5, 4 }, 1), leaf({ 5 }, 2), leaf({ 3, 5 }, 3), leaf({ 3 }, 4)
    for _, kind in ipairs { "none", "tanh" } do
      for _, shape in ipairs { { 4 }, { 2, 3, 4 }, { 0, 4 } } do
        local x = leaf(shape)
        local function f(input, ...) return input:feed_forward(...) end
        close(f(x, w1, b1, w2, b2, kind), x:linear(w1, b1):gelu(kind):linear(w2, b2))
        mosaic.gradcheck(function(...)
          local input, weight1, bias1, weight2, bias2 = ...
          return f(input, weight1, bias1, weight2, bias2, kind)
        end, { x, w1, b1, w2, b2 })
        mosaic.gradcheck(function(input, weight1, weight2)
          return f(input, weight1, nil, weight2, nil, kind)
        end, { x, w1, w2 })
        mosaic.gradcheck(function(input, second)
          return f(input, w1:detach(), nil, w2:detach(), second) + input:sum()
        end, { x, b2 })
        mosaic.gradcheck(function(first) return f(x:detach(), w1:detach(), first, w2:detach()) end, { b1 })
        mosaic.gradcheck(function(second) return f(x:detach(), w1:detach(), nil, second) end, { w2 })
      end
    end
    mosaic.gradcheck(function(x, w) return x + x:feed_forward(w, nil, w, nil) * x end,
      { leaf { 3, 4 }, leaf { 4, 4 } })
  end)

  it("linear where not all that it is made of wants a gradient", function()
    local x, w, b = fill { 3, 4 }, fill({ 5, 4 }, { seed = 1 }), fill({ 5 }, { seed = 2 })
    local input, weight, bias = leaf { 3, 4 }, leaf({ 5, 4 }, 1), leaf({ 5 }, 2)
    mosaic.gradcheck(function(t) return x:linear(w, t) end, { bias })
    mosaic.gradcheck(function(t) return x:linear(t, b) end, { weight })
    mosaic.gradcheck(function(t, u) return x:linear(t, u) end, { weight, bias })
    mosaic.gradcheck(function(t, u) return t:linear(w, u) end, { input, bias })
  end)

  it("linear of something that is used besides, before and after", function()
    local w, b = leaf({ 4, 4 }, 1), leaf({ 4 }, 2)
    for _, shape in ipairs { { 4 }, { 2, 3, 4 } } do
      mosaic.gradcheck(function(x, weight, bias) return x + mosaic.linear(x, weight, bias) end,
        { leaf(shape), w, b })
      mosaic.gradcheck(function(x, weight, bias) return mosaic.linear(x:exp(), weight, bias) * x:exp() end,
        { leaf(shape), w, b })
      mosaic.gradcheck(function(x, weight, bias)
        local y = x * x
        local deep = mosaic.linear(y, weight):linear_gelu(weight, bias)
        return y + deep + y:linear_gelu(weight) + y:linear(weight, bias)
      end, { leaf(shape), w, b })
    end
    mosaic.gradcheck(function(x) return x:linear(x) + x:linear_gelu(x) end, { leaf { 4, 4 } })
  end)

  it("leaves a gradient that others share alone", function()
    local x, w = leaf({ 3, 4 }, 1), leaf({ 4, 4 }, 2)
    local g = fill { 3, 4 }
    local y, z = x * 1, x * 2
    (y + z + mosaic.linear(y, w)):backward(g)
    close(g, fill({ 3, 4 }):tolist(), 0)
    close(x.grad, g * 3 + g:matmul(w:detach()), 1e-13)
  end)

  it("sums a weight's gradient over many rows as exactly as over few", function()
    local x = fill({ 5000, 3 }, { dtype = "f32" })
    local w = fill({ 2, 3 }, { dtype = "f32", requires_grad = true })
    local g = fill({ 5000, 2 }, { dtype = "f32", seed = 1 })
    local b = fill({ 2 }, { dtype = "f32", seed = 2, requires_grad = true })
    mosaic.linear(x, w, b):backward(g)
    close(w.grad, g:to "f64":t():matmul(x:to "f64"):tolist(), 1e-6)
    close(b.grad, g:to "f64":sum(1):tolist(), 1e-6)
  end)
end)
