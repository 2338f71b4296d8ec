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
end)
