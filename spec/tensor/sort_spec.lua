local mosaic = require "mosaic"
local close = require "spec.support.close"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"

local inf, nan = math.huge, 0 / 0

describe("sort and topk", function()
  it("are stable, with NaN last and -0 equal to 0", function()
    for _, dtype in ipairs { "f32", "f64", "bf16", "f16" } do
      local x = mosaic.tensor({ 2, nan, -inf, 0, 2, -0.0, inf, -3, nan }, { dtype = dtype })
      local values, places = x:sort()
      close(values, { -inf, -3, 0, 0, 2, 2, inf, nan, nan })
      assert.same({ 3, 8, 4, 6, 1, 5, 7, 2, 9 }, places:tolist())
      assert.same({ 7, 1, 5, 4, 6, 8, 3, 2, 9 }, x:argsort(1, true):tolist())
    end
    local x = mosaic.tensor({ 3, 1, 2 ^ 53, 3, 0 }, { dtype = "i64" })
    assert.same({ 5, 2, 1, 4, 3 }, x:argsort():tolist())
    assert.same({ 3, 1, 4, 2, 5 }, x:argsort(1, true):tolist())
    assert.same({ 0, 5, 200 }, (mosaic.tensor({ 200, 0, 5 }, { dtype = "u8" }):sort()):tolist())
    assert.same({ -7, -5, 2 }, (mosaic.tensor({ 2, -5, -7 }, { dtype = "i32" }):sort()):tolist())
  end)

  it("order along any axis", function()
    local x = fill { 40, 3, 37 }
    for axis = 1, 3 do
      local values, places = x:sort(axis)
      assert.same(values:flat(), x:gather(axis, places):flat())
      local list = x:select(axis % 3 + 1, 2)
      local sorted = list:sort(axis < axis % 3 + 1 and axis or axis - 1)
      assert.same(values:select(axis % 3 + 1, 2):flat(), sorted:flat())
    end
    local flat = x:flat()
    table.sort(flat)
    assert.same(flat, (x:flatten():sort()):flat())
  end)

  it("topk takes the first of the order", function()
    local x = mosaic.tensor { { 5, 1, 4 }, { 2, nan, 3 } }
    local values, places = x:topk(2)
    assert.same({ { { 5, 4 }, { 3, 2 } }, { { 1, 3 }, { 3, 1 } } }, { values:tolist(), places:tolist() })
    values, places = x:topk(1, 1, false)
    assert.same({ { { 2, 1, 3 } }, { { 2, 1, 2 } } }, { values:tolist(), places:tolist() })
    assert.same({ 2, 0 }, (x:topk(0)).shape)
    fails("topk: 4 elements asked for, axis 2 of f32 [2,3] has 3", function() x:topk(4) end)
  end)

  it("sort nothing and one thing", function()
    assert.same({ 0 }, (mosaic.zeros { 0 }:sort()).shape)
    assert.same({ 1 }, select(2, mosaic.zeros { 1 }:sort()):tolist())
    fails("sort: axis -1 is out of range for 0 dims", function() mosaic.tensor(1):sort() end)
  end)
end)

describe("cumsum", function()
  it("adds up forwards and backwards along any axis", function()
    for _, dtype in ipairs { "f32", "f64", "bf16", "i32", "i64", "u8" } do
      local x = mosaic.tensor({ { 1, 2, 3 }, { 4, 5, 6 } }, { dtype = dtype })
      assert.same({ { 1, 3, 6 }, { 4, 9, 15 } }, x:cumsum(2):tolist())
      assert.same({ { 1, 2, 3 }, { 5, 7, 9 } }, x:cumsum(1):tolist())
      assert.same({ { 6, 5, 3 }, { 15, 11, 6 } }, x:cumsum(-1, true):tolist())
      assert.same({ { 1, 5 }, { 2, 7 }, { 3, 9 } }, x:t():cumsum(2):tolist())
    end
    assert.same({ 0, 2 }, mosaic.zeros { 0, 2 }:cumsum(1).shape)
  end)

  it("keeps the digits of long f32 sums", function()
    local x = mosaic.full({ 100000 }, 0.1)
    close(x:cumsum(1)[100000]:item(), 10000.000149, 1e-7)
  end)
end)
