--- Functions with promises about their gradients: what the tape may free, add to, or must leave alone.
local mosaic = require "mosaic"
local close = require "spec.support.close"

local function leaf(values)
  return mosaic.tensor(values, { dtype = "f64", requires_grad = true })
end

describe("a Function that adds to what has arrived", function()
  --- x's gradient from 2 x, where `given` (5) has arrived before.
  local function walk(backward, options, given)
    options = options or {}
    local add = mosaic.autograd.Function("add", {
      adds = 1,
      pure = options.pure,
      forward = function(_, x) return x * 2 end,
      backward = backward,
    })
    local x = mosaic.ones({ 3 }, { requires_grad = true })
    local y = x * 1
    local roots, grads = { add(y), y }, { mosaic.ones { 3 }, given or mosaic.full({ 3 }, 5) }
    mosaic.autograd.backward(roots, grads)
    return x.grad
  end

  it("may return a new sum, what has arrived, or nothing", function()
    for _, pure in ipairs { true, false } do
      local given = mosaic.full({ 3 }, 5)
      close(walk(function(ctx, g) return ctx.arrived + g * 2 end, { pure = pure }, given), { 7, 7, 7 })
      close(walk(function(ctx) return ctx.arrived end, { pure = pure }, given), { 5, 5, 5 })
      close(walk(function() end, { pure = pure }, given), { 5, 5, 5 })
      assert.same({ 5, 5, 5 }, given:flat())
    end
  end)

  it("keeps a view of what has arrived, and what it returned, where it is not pure", function()
    local given, kept = mosaic.full({ 3 }, 5), nil
    close(walk(function(ctx) return ctx.arrived:view(3) end, nil, given), { 5, 5, 5 })
    close(walk(function(ctx, g)
      kept = ctx.arrived + g * 2
      return kept
    end), { 7, 7, 7 })
    assert.same({ 7, 7, 7 }, kept:flat())
    assert.same({ 5, 5, 5 }, given:flat())
  end)

  it("must not write to it", function()
    local ok, message = pcall(walk, function(ctx, g) return ctx.arrived:add_(g * 2) end)
    assert.is_false(ok)
    assert.matches("add: backward has written to ctx%.arrived, which others may have$", message)
  end)

  it("gets the sum of an argument that is given twice, whichever of them it adds to", function()
    for adds = 1, 2 do
      local product = mosaic.autograd.Function("product", {
        adds = adds,
        forward = function(ctx, a, b)
          ctx.a, ctx.b = a, b
          return a * b
        end,
        backward = function(ctx, g)
          local shares = { g * ctx.b, g * ctx.a }
          if ctx.arrived then shares[adds] = shares[adds] + ctx.arrived end
          return unpack(shares)
        end,
      })
      local x = leaf { 1, 2, 3 }
      local y = x * 1
      mosaic.autograd.backward({ product(y, y), y }, { y:ones_like(), y:ones_like() })
      assert.same({ 3, 5, 7 }, x.grad:tolist()) -- 2 y + 1
    end
  end)
end)

describe("a Function that is pure", function()
  it("has what it gives and gets freed; of others nothing is", function()
    local seen = {}
    local function doubling(pure)
      return mosaic.autograd.Function("double", {
        pure = pure,
        forward = function(_, x) return x * 2 end,
        backward = function(_, g)
          seen[#seen + 1] = g
          return g * 2
        end,
      })
    end
    local x = mosaic.ones({ 3 }, { requires_grad = true })
    doubling(false)(doubling(false)(x):square()):sum():backward()
    for i = 1, 2 do assert.equal(3, #seen[i]:flat()) end
    doubling(true)(doubling(true)(x):square()):sum():backward()
    for i = 3, 4 do assert.is_false(pcall(seen[i].flat, seen[i])) end
    close(x.grad, { 32, 32, 32 })
  end)

  local function walk(backward)
    local sum = mosaic.autograd.Function("sum of two", {
      pure = true,
      forward = function(_, a, b) return a + b end,
      backward = backward,
    })
    local x = leaf { 1, 2 }
    sum(x * 2, x * 3):sum():backward()
  end

  it("fails by its name where it returns what it got, or one tensor twice", function()
    local function refused(number, backward)
      local _, message = pcall(walk, backward)
      assert.matches(("sum of two: backward is pure, but gradient %d is one that it got or returns twice$")
        :format(number), message)
    end
    refused(1, function(_, g) return g, g * 1 end)
    refused(2, function(_, g)
      local d = g * 1
      return d, d
    end)
  end)
end)

describe("an argument that forward returns", function()
  it("stays out of the graph: the result is a view of it", function()
    local first = mosaic.autograd.Function("first", {
      forward = function(_, x, y) return y, x * 1 end,
      backward = function(_, _, g) return g end,
    })
    local x, y = leaf { 1, 2 }, mosaic.tensor({ 3, 4 }, { dtype = "f64" })
    local same, other = first(x, y)
    assert.is_false(y.requires_grad)
    assert.is_true(same.requires_grad)
    assert.same({ 3, 4 }, same:tolist())
    other:sum():backward()
    assert.same({ 1, 1 }, x.grad:tolist())
  end)
end)
