local mosaic = require "mosaic"

local function leaf(values)
  return mosaic.tensor(values, { dtype = "f64", requires_grad = true })
end

describe("checkpoint", function()
  it("gives the gradients of plain recording, parameters inside included", function()
    local w = leaf { { 1, 2 }, { 3, 4 } }
    local function body(x) return (x * w):exp() * x end
    local x, x2 = leaf { 0.1, 0.2 }, leaf { 0.1, 0.2 }
    body(x):sum():backward()
    local expected = w.grad:flat()
    w.grad = nil
    mosaic.checkpoint(body, x2):sum():backward()
    assert.same(x.grad:flat(), x2.grad:flat())
    assert.same(expected, w.grad:flat())
  end)

  it("draws the same random numbers again", function()
    local x = leaf { 1, 1, 1, 1 }
    local y = mosaic.checkpoint(function(t) return t * mosaic.rand { 4, dtype = "f64" } end, x)
    y:sum():backward()
    assert.same(y:flat(), x.grad:flat())
  end)

  it("takes every generator back, and leaves it where it was", function()
    local g, x = mosaic.generator(7), leaf { 1, 1, 1, 1 }
    local y = mosaic.checkpoint(function(t) return t * mosaic.rand { 4, dtype = "f64", generator = g } end, x)
    g:manual_seed(8)
    y:sum():backward()
    assert.same(y:flat(), x.grad:flat())
    assert.same({ 8, 0 }, { g.seed, g:position() })
  end)

  it("can be nested, with generators inside and outside", function()
    local g, x = mosaic.generator(3), leaf { 1, 1, 1 }
    local function noisy(t)
      return t * mosaic.rand { 3, dtype = "f64", generator = g } * mosaic.rand { 3, dtype = "f64" }
    end
    local y = mosaic.checkpoint(function(t)
      return noisy(mosaic.checkpoint(noisy, mosaic.checkpoint(noisy, t)))
    end, x)
    y:sum():backward()
    local err = (y:detach() - x.grad):abs():max():item()
    assert.is_true(err <= 1e-15)
    assert.equal(3, g:position())
  end)

  it("takes integer tensors, and walks back twice", function()
    local x, ids = leaf { 1, 2, 3 }, mosaic.tensor({ 3, 1, 3 }, { dtype = "i64" })
    local y = mosaic.checkpoint(function(index, t) return t:index_select(1, index):square() end, ids, x):sum()
    y:backward(nil, { retain_graph = true })
    y:backward()
    assert.same({ 4, 0, 24 }, x.grad:tolist())
  end)
end)
