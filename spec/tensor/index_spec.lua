local mosaic = require "mosaic"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"

local function ids(list) return mosaic.tensor(list, { dtype = "i64" }) end

describe("index_select and embedding", function()
  it("read whole slices in any order, in every dtype", function()
    for _, dtype in ipairs { "f32", "f64", "bf16", "f16", "i32", "i64", "u8" } do
      local x = mosaic.arange(1, 12, { dtype = dtype }):view(3, 4)
      assert.same({ { 9, 10, 11, 12 }, { 1, 2, 3, 4 }, { 9, 10, 11, 12 } },
        x:index_select(1, ids { 3, 1, 3 }):tolist())
      assert.same({ { 2, 1 }, { 6, 5 }, { 10, 9 } }, x:index_select(-1, ids { 2, 1 }):tolist())
      assert.same({ { 4, 1 }, { 8, 5 }, { 12, 9 } }, x:t():index_select(1, ids { 4, 1 }):t():tolist())
      assert.same({ { { 5, 6, 7, 8 } }, { { 1, 2, 3, 4 } } }, x:embedding(ids { { 2 }, { 1 } }):tolist())
    end
  end)

  it("read strided indices and large slices alike", function()
    local x, order = fill { 300, 70 }, {}
    for i = 1, 300 do order[i] = (i * 7) % 300 + 1 end
    local picked = x:index_select(1, ids(order))
    for _, i in ipairs { 1, 2, 150, 300 } do assert.same(x[order[i]]:flat(), picked[i]:flat()) end
    local every_second = ids(order):slice(1, 1, 300, 2)
    assert.same(picked:slice(1, 1, 300, 2):flat(), x:index_select(1, every_second):flat())
    assert.same(x[order[3]]:flat(), x:embedding(ids(order)[3]):flat())
  end)

  it("select nothing", function()
    assert.same({ 0, 4 }, mosaic.zeros { 3, 4 }:index_select(1, mosaic.zeros { 0, dtype = "i64" }).shape)
    assert.same({ 2, 0 }, mosaic.zeros { 3, 0 }:index_select(1, ids { 1, 3 }).shape)
  end)

  it("name a wrong index and its place", function()
    local x = mosaic.zeros { 5, 2 }
    fails("index_select: index 7 at position 3 is outside 1..5",
      function() x:index_select(1, ids { 1, 5, 7 }) end)
    fails("index_select: index 0 at position 1 is outside 1..2", function() x:index_select(2, ids { 0 }) end)
    fails("embedding: index -1 at position [2,1] is outside 1..5",
      function() x:embedding(ids { { 1, 2 }, { -1, 9 } }) end)
    fails("index_select: the index must be i64, got f32 [1]",
      function() x:index_select(1, mosaic.tensor { 1 }) end)
    fails("index_select: the index must have 1 dim, got i64 [1,1]",
      function() x:index_select(1, ids { { 1 } }) end)
    fails("index_select: the index must be a tensor, got nil", function() x:index_select(1) end)
    fails("index_select: axis 0 does not exist", function() x:index_select(0, ids { 1 }) end)
  end)
end)

describe("gather and scatter", function()
  local x = mosaic.arange(1, 6, { dtype = "f64" }):view(2, 3)

  it("gather one element per index", function()
    assert.same({ { 3, 3 }, { 4, 6 } }, x:gather(2, ids { { 3, 3 }, { 1, 3 } }):tolist())
    assert.same({ { 4, 2, 6 } }, x:gather(1, ids { { 2, 1, 2 } }):tolist())
    assert.same({ { 4 }, { 1 } }, x:gather(1, ids { { 2 }, { 1 } }):tolist()) -- smaller than x elsewhere
  end)

  it("scatter values and numbers, keeping the last", function()
    local zeros = mosaic.zeros { 2, 3, dtype = "f64" }
    assert.same({ { 2, 0, 3 }, { 6, 5, 0 } }, zeros:scatter(2, ids { { 1, 1, 3 }, { 3, 2, 1 } },
      mosaic.tensor({ { 1, 2, 3 }, { 0, 5, 6 } }, { dtype = "f64" })):tolist())
    assert.same({ { 0, 9, 0 }, { 9, 0, 0 } }, zeros:scatter(2, ids { { 2 }, { 1 } }, 9):tolist())
    assert.same({ 0, 0, 0, 0, 0, 0 }, zeros:flat())
    zeros:scatter_(1, ids { { 2, 1, 2 } }, 1)
    assert.same({ { 0, 1, 0 }, { 1, 0, 1 } }, zeros:tolist())
  end)

  it("add up what meets, in every dtype and without rounding halves on the way", function()
    for _, dtype in ipairs { "f32", "f64", "bf16", "f16", "i32", "i64", "u8" } do
      local base = mosaic.ones { 3, 2, dtype = dtype }
      local two = mosaic.full({ 4, 2, dtype = dtype }, 2)
      assert.same({ { 5, 5 }, { 1, 1 }, { 5, 5 } }, base:index_add(1, ids { 1, 3, 3, 1 }, two):tolist())
      assert.same({ { 9, 1 }, { 1, 9 }, { 1, 1 } },
        base:scatter_add(1, ids { { 1, 2 }, { 1, 2 }, { 1, 2 }, { 1, 2 } }, two):tolist())
    end
    local ones = mosaic.ones { 1000, dtype = "bf16" }
    local sum = mosaic.zeros { 1, dtype = "bf16" }:index_add(1, mosaic.ones { 1000, dtype = "i64" }, ones)
    assert.equal(1000, sum:item())
  end)

  it("add in the same order on one and on three threads", function()
    local C = require "mosaic.ffi"
    local before, order = C.mosaic_threads(), {}
    for i = 1, 2000 do order[i] = (i * i) % 11 + 1 end
    local source = fill({ 2000, 33 }, { dtype = "f32" })
    local function sums() return mosaic.zeros { 11, 33 }:index_add(1, ids(order), source):flat() end
    C.mosaic_set_threads(1)
    local alone = sums()
    C.mosaic_set_threads(3)
    local together = sums()
    C.mosaic_set_threads(before)
    assert.same(alone, together)
  end)

  it("refuse an index that they would overwrite while they read it", function()
    local y, far = ids { 2, 1, 3, 3 }, ids { 2 ^ 40, 2 ^ 40 }
    fails("scatter: the output i64 [4] shares memory with the index i64 [2]",
      function() y:scatter_(1, y:slice(1, 1, 2), far) end)
    fails("scatter: the output i64 [2] shares memory with the index i64 [2]",
      function() y:slice(1, 2, 3):scatter_(1, y:slice(1, 1, 2), far) end)
    fails("index_add: the output i64 [4] shares memory with the index i64 [4]",
      function() y:index_add_(1, y, ids { 1, 1, 1, 1 }) end)
    assert.same({ 2, 1, 3, 3 }, y:flat())
    y:slice(1, 3, 4):scatter_(1, y:slice(1, 1, 2), 7) -- beside it
    assert.same({ 2, 1, 7, 7 }, y:flat())
    assert.same({ 1, 2 }, ids({ 2, 1 }):gather(1, ids { 2, 1 }):flat())
  end)

  it("say what does not fit", function()
    fails("gather: index 4 at position [1,2] is outside 1..3", function() x:gather(2, ids { { 1, 4 } }) end)
    fails("gather: the index i64 [3,1] does not fit f64 [2,3] along axis 2",
      function() x:gather(2, ids { { 1 }, { 1 }, { 1 } }) end)
    fails("scatter: the source f64 [1,1] does not fit the index i64 [1,2] of f64 [2,3]",
      function() x:scatter(2, ids { { 1, 2 } }, mosaic.zeros { 1, 1, dtype = "f64" }) end)
    fails("index_add: the source f64 [1,3] does not fit the index i64 [2] of f64 [2,3] along axis 1",
      function() x:index_add(1, ids { 1, 2 }, mosaic.zeros { 1, 3, dtype = "f64" }) end)
  end)
end)
