local mosaic = require "mosaic"
local fails = require "spec.support.fails"

describe("cat and stack", function()
  local a, b = mosaic.tensor { { 1, 2 }, { 3, 4 } }, mosaic.tensor { { 5, 6 } }

  it("join along any axis, strided and empty parts too", function()
    assert.same({ { 1, 2 }, { 3, 4 }, { 5, 6 } }, mosaic.cat { a, b }:tolist())
    assert.same({ { 1, 3, 5 }, { 2, 4, 6 } }, mosaic.cat({ a:t(), b:t() }, -1):tolist())
    assert.same({ { 5, 6 }, { 5, 6 } }, mosaic.cat { b, mosaic.zeros { 0, 2 }, b }:tolist())
    assert.same({ { { 1, 2 }, { 4, 5 } }, { { 3, 4 }, { 6, 7 } } }, mosaic.stack({ a, a + 3 }, 2):tolist())
    assert.same({ 2, 2, 1 }, mosaic.stack({ a }, -1).shape)
    assert.same({ 7, 8 }, mosaic.stack { mosaic.tensor(7), mosaic.tensor(8) }:tolist())
  end)

  it("say which parts do not fit", function()
    fails("cat: f32 [2,2] and f32 [1,2] cannot be joined along axis 2",
      function() mosaic.cat({ a, b }, 2) end)
    fails("cat: f32 [2,2] and f64 [2,2] cannot be joined along axis 1",
      function() mosaic.cat { a, a:to "f64" } end)
    fails("cat: part 2 must be a tensor, got 3", function() mosaic.cat { a, 3 } end)
    fails("cat: there is nothing to join", function() mosaic.cat {} end)
    fails("cat: expected a list of tensors, got f32 [2,2]", function() mosaic.cat(a) end)
    fails("cat: f32 [1,2,2] and f32 [1,1,2] cannot be joined along axis 1",
      function() mosaic.stack { a, b } end)
  end)
end)

describe("split and chunk", function()
  local x = mosaic.arange(1, 10):view(2, 5)

  local function widths(views)
    local sizes = {}
    for i, view in ipairs(views) do sizes[i] = view:size(2) end
    return sizes
  end

  it("cut views of equal, given or counted sizes", function()
    assert.same({ 2, 2, 1 }, widths(x:split(2, 2)))
    assert.same({ 1, 0, 4 }, widths(x:split({ 1, 0, 4 }, -1)))
    assert.same({ 2, 2, 1 }, widths(x:chunk(3, 2)))
    assert.same({ 2, 2, 1 }, widths(x:chunk(4, 2)))
    local views = x:split(2, 2)
    assert.same({ { 3, 4 }, { 8, 9 } }, views[2]:tolist())
    views[3]:set(1, 1, 50)
    assert.equal(50, x:get(1, 5))
    assert.same({ 0, 3 }, mosaic.zeros { 0, 3 }:split(2)[1].shape)
  end)

  it("refuse sizes that do not add up", function()
    fails("split: the sizes add up to 4, axis 2 of i64 [2,5] has 5", function() x:split({ 1, 3 }, 2) end)
    fails("split: the size must be an integer of at least 1, got 0", function() x:split(0) end)
    fails("chunk: the count must be an integer of at least 1, got 1.5", function() x:chunk(1.5) end)
  end)
end)
