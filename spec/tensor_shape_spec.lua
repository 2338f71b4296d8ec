local mosaic = require "mosaic"
local fails = require "spec.support.fails"

describe("views", function()
  local x = mosaic.tensor({ { 1, 2, 3 }, { 4, 5, 6 } }, { dtype = "f64" })

  it("transposes without a copy", function()
    local t = x:t()
    assert.same({ { 1, 4 }, { 2, 5 }, { 3, 6 } }, t:tolist())
    t:set(3, 1, 30)
    assert.equal(30, x:get(1, 3))
    t:set(3, 1, 3)
  end)

  it("cuts and joins axes where the strides allow it", function()
    local y = mosaic.arange(1, 24):view(2, 3, 4)
    assert.same({ 1, 5, 9, 13, 17, 21 }, y:select(3, 1):reshape(6):flat())
    assert.same({ 2, 3, 2, 2 }, y:view(2, 3, 2, 2).shape)
    assert.same({ 2, 12 }, y:view(2, -1).shape)
    assert.same({ 3, 1, 2, 4 }, y:permute(2, 1, 3):view(3, 1, 2, 4).shape)
  end)

  it("refuses a view across a stride, naming the way out", function()
    fails("view: the strides of i64 [3,2] do not allow it; use reshape or contiguous",
      function() mosaic.arange(1, 6):view(2, 3):t():view(6) end)
  end)

  it("counts from 1 and from -1 back", function()
    assert.same({ 4, 5, 6 }, x[2]:tolist())
    assert.same({ 4, 5, 6 }, x[-1]:tolist())
    assert.same({ { 2, 3 }, { 5, 6 } }, x:slice(2, -2, -1):tolist())
    fails("size: axis 0 does not exist: axes count from 1, or from -1 backwards",
      function() x:size(0) end)
  end)

  it("names the place that was asked for", function()
    fails("select: index -5 of axis 1 is not in f64 [2,3]", function() x:select(1, -5) end)
    fails("select: index 3 of axis 1 is not in f64 [2,3]", function() x:select(1, 3) end)
    fails("get: index -4 of axis 2 is not in f64 [2,3]", function() x:get(1, -4) end)
    fails("slice: -9..2 step 1 of axis 2 is not in f64 [2,3]", function() x:slice(2, -9, 2) end)
    fails("flatten: axis 2 of f64 [2,3] is behind axis 1", function() x:flatten(2, 1) end)
    fails("flatten: axis 2 of f64 [1,1] is behind axis 1",
      function() mosaic.ones({ 1, 1 }, { dtype = "f64" }):flatten(2, 1) end)
    assert.same({ 1, 4 }, x:select(2, -3):flat())
    assert.equal(4, x:get(-1, -3))
  end)

  it("expands to no more than can be counted, and to no negative size", function()
    fails("expand: [4294967296,4294967296] has more bytes than can be addressed",
      function() mosaic.ones({ 1 }):expand(2 ^ 32, 2 ^ 32) end)
    fails("expand: size -1 of axis 1 is negative", function() mosaic.ones({ 3 }):expand(-1, 3) end)
    assert.equal(2 ^ 50, mosaic.ones({ 1 }):expand(2 ^ 25, 2 ^ 25):numel())
  end)

  it("refuses places and lengths that are no integers", function()
    fails("slice: from must be an integer, got 1.5", function() x:slice(1, 1.5) end)
    fails("slice: to must be an integer, got 2.5", function() x:slice(2, 1, 2.5) end)
    fails("slice: step must be an integer, got 1.5", function() x:slice(2, 1, 3, 1.5) end)
    fails("narrow: start must be an integer, got 1.5", function() x:narrow(2, 1.5, 1.5) end)
    fails("narrow: length must be an integer of at least 0, got 1.5", function() x:narrow(2, 1, 1.5) end)
  end)

  it("suggests the option that was meant", function()
    fails("zeros: unknown option 'dtpye', did you mean 'dtype'? (known: dtype, device, requires_grad)",
      function() mosaic.zeros { 2, dtpye = "f32" } end)
  end)
end)

describe("writes in place", function()
  local x, ids = mosaic.zeros { 2 }, mosaic.tensor({ 1, 2 }, { dtype = "i64" })
  local source = mosaic.ones { 2, requires_grad = true }

  it("refuse a source that carries a gradient, which would be lost", function()
    local writes = {
      copy_ = function() x:copy_(source) end,
      scatter_ = function() x:scatter_(1, ids, source) end,
      scatter_add_ = function() x:scatter_add_(1, ids, source) end,
      index_add_ = function() x:index_add_(1, ids, source) end,
    }
    for name, write in pairs(writes) do
      fails(name .. ": f32 [2] takes part in a gradient; use the form without '_', detach()", write)
    end
    assert.same({ 0, 0 }, x:tolist())
    mosaic.no_grad(function() x:copy_(source) end)
    assert.same({ 1, 1 }, x:tolist())
  end)

  it("refuse what repeats its elements, each of which would get several values", function()
    local row, all = mosaic.zeros { 3 }, mosaic.ones { 2, 3 }
    local cannot = ": cannot write to f32 [2,3], whose axis 1 is expanded; clone it first"
    local y = row:expand(2, 3)
    fails("copy" .. cannot, function() y:copy_(all) end)
    fails("add" .. cannot, function() y:add_(all) end)
    fails("random" .. cannot, function() y:uniform_(0, 1) end)
    fails("random" .. cannot, function() y:normal_(0, 1) end)
    fails("scatter" .. cannot, function() y:scatter_(1, ids:view(2, 1), all) end)
    fails("scatter_add" .. cannot, function() y:scatter_add_(1, ids:view(2, 1), all) end)
    fails("index_add" .. cannot, function() y:index_add_(1, ids, all) end)
    assert.same({ 0, 0, 0 }, row:flat())
    assert.same({ 1, 1, 1, 1, 1, 1 }, y:fill_(1):flat())
    assert.same({ 2, 2, 2 }, row:view(1, 3):expand(1, 3):copy_(all[1] * 2):flat())
  end)

  it("say what they cannot write", function()
    fails("copy_: the source must be a tensor, got 3", function() x:copy_(3) end)
    fails('fill_: the value must be a number, got "x"', function() x:fill_ "x" end)
    fails("full: the value must be a number, got nil", function() mosaic.full { 2 } end)
    fails("set: the value must be a number, got \"x\"", function() x:set(1, "x") end)
  end)
end)

describe("integer tensors", function()
  local function of(dtype, data)
    return function() mosaic.tensor(data, { dtype = dtype }) end
  end

  it("hold whole numbers of their range, the ends included", function()
    local ends = { u8 = { 0, 255 }, i32 = { -2 ^ 31, 2 ^ 31 - 1 }, i64 = { -2 ^ 63, 2 ^ 53 } }
    for dtype, values in pairs(ends) do
      assert.same(values, mosaic.tensor(values, { dtype = dtype }):tolist())
    end
  end)

  it("refuse what they would round or wrap, with its place", function()
    local function refused(text, data, dtype)
      local ok, message = pcall(of(dtype, data))
      assert.is_false(ok)
      assert.truthy(message:find(text, 1, true), message)
    end
    refused("tensor: 1.5 at [2][3] does not fit i64", { { 1, 2, 3 }, { 4, 5, 1.5 } }, "i64")
    refused("nan at [1] does not fit i32", { 0 / 0 }, "i32")
    refused("tensor: 1e+30 at [2] does not fit i64", { 1, 1e30 }, "i64")
    refused("tensor: 300 does not fit u8", 300, "u8")
    refused("tensor: -1 at [1][1] does not fit u8", { { -1 } }, "u8")
    fails("full: 0.5 does not fit i32", function() mosaic.full({ 2, dtype = "i32" }, 0.5) end)
    fails("fill_: 256 does not fit u8", function() mosaic.zeros { 2, dtype = "u8" }:fill_(256) end)
    fails("set: 2.5 does not fit i64", function() mosaic.zeros { 2, dtype = "i64" }:set(1, 2.5) end)
  end)
end)
