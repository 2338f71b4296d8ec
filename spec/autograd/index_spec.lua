local mosaic = require "mosaic"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"

local gradcheck = mosaic.gradcheck
local function leaf(shape, seed) return fill(shape, { seed = seed, requires_grad = true }) end
local function ids(list) return mosaic.tensor(list, { dtype = "i64" }) end

describe("gradients of indexing", function()
  it("index_select, index_add and embedding, with repeated indices", function()
    local list = ids { 3, 1, 3 }
    for axis = 1, 2 do
      gradcheck(function(x) return x:index_select(axis, list) end, { leaf { 4, 3 } })
      gradcheck(function(x, y) return x:index_add(axis, list, y) end,
        { leaf { 4, 4 }, leaf(axis == 1 and { 3, 4 } or { 4, 3 }, 1) })
    end
    gradcheck(function(w) return w:embedding(ids { { 2, 2 }, { 1, 4 } }) end, { leaf { 4, 3 } })
    gradcheck(function(w) return w:embedding(mosaic.zeros { 0, dtype = "i64" }) end, { leaf { 4, 3 } })
  end)

  it("gather, scatter and scatter_add, with a source larger than the index", function()
    local index = ids { { 3, 3 }, { 1, 2 } }
    gradcheck(function(x) return x:gather(2, index) end, { leaf { 2, 3 } })
    gradcheck(function(x) return x:gather(1, index) end, { leaf { 3, 4 } })
    gradcheck(function(x, y) return x:scatter_add(2, index, y) end, { leaf { 2, 3 }, leaf({ 3, 2 }, 1) })
    gradcheck(function(x, y) return x:scatter(1, index, y) end, { leaf { 3, 4 }, leaf({ 2, 3 }, 1) })
    gradcheck(function(x) return x:scatter(2, index, 7) end, { leaf { 2, 3 } })
  end)

  it("refuses in-place writes to what takes part in a gradient", function()
    fails("index_add_: f64 [2] takes part in a gradient", function()
      leaf { 2 }:index_add_(1, ids { 1 }, mosaic.zeros { 1, dtype = "f64" })
    end)
  end)
end)

describe("gradients of joining and order", function()
  it("cat, stack, split and chunk", function()
    gradcheck(function(a, b, c) return mosaic.cat({ a, b, c }, 2) end,
      { leaf { 2, 3 }, fill({ 2, 1 }, { seed = 1 }), leaf({ 2, 2 }, 2) })
    gradcheck(function(a, b) return mosaic.stack({ a, b }, -1) end, { leaf { 2, 3 }, leaf({ 2, 3 }, 1) })
    gradcheck(function(a) return unpack(a:split({ 1, 3, 0, 1 }, 2)) end, { leaf { 2, 5 } })
    gradcheck(function(a) return a:chunk(3, 1)[2] * 2 end, { leaf { 5, 2 } })
    gradcheck(function(a) return mosaic.cat { a, a } end, { leaf { 2, 2 } })
  end)

  it("sort, topk and cumsum", function()
    for axis = 1, 2 do
      gradcheck(function(x) return (x:sort(axis)) end, { leaf { 5, 4 } })
      gradcheck(function(x) return (x:topk(2, axis, axis == 1)) end, { leaf { 5, 4 } })
      gradcheck(function(x) return x:cumsum(axis), x:cumsum(axis, true) end, { leaf { 5, 4 } })
    end
    local _, places = leaf { 3 }:sort()
    assert.is_falsy(places.requires_grad)
  end)
end)

describe("the gradient of cross_entropy", function()
  it("with each reduction and with ignored rows", function()
    local targets = ids { 3, 1, 17, 3 }
    for _, reduction in ipairs { "mean", "sum", "none" } do
      gradcheck(function(x) return x:cross_entropy(targets, { reduction = reduction }) end,
        { leaf { 4, 17 } })
      gradcheck(function(x) return x:cross_entropy(targets, { reduction = reduction, ignore_index = 3 }) end,
        { leaf { 4, 17 } })
      gradcheck(function(x)
        return x:permute(2, 1):cross_entropy(ids { 1, 2 }, { reduction = reduction })
      end, { leaf { 3, 2 } })
    end
    gradcheck(function(x) return x:cross_entropy(targets:view(2, 2)) end, { leaf { 2, 2, 17 } })
  end)
end)
