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

  it("suggests the option that was meant", function()
    fails("zeros: unknown option 'dtpye', did you mean 'dtype'? (known: dtype, device, requires_grad)",
      function() mosaic.zeros { 2, dtpye = "f32" } end)
  end)
end)
