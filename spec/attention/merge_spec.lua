local mosaic = require "mosaic"
local close = require "spec.support.close"
local dense = require "spec.support.dense"
local fails = require "spec.support.fails"
local support = require "spec.support.attention"

local values, operands = support.values, support.operands

describe("merge", function()
  local q, k, v = operands { 2, 2, 2, 5, 12, 3 }

  --- Attention to keys from..to only.
  local function part(from, to, dtype)
    return mosaic.sdpa(q:to(dtype or "f64"), k:slice(3, from, to):to(dtype or "f64"),
      v:slice(3, from, to):to(dtype or "f64"))
  end

  it("joins the results over two sets of keys", function()
    local truth = dense.attention(q, k, v)
    for cut = 0, 12 do
      local o1, l1 = part(1, cut)
      local o2, l2 = part(cut + 1, 12)
      local out, lse = mosaic.merge(o1, l1, o2, l2)
      close(out:flat(), truth.out, 1e-14)
      close(lse:flat(), truth.lse, 1e-14)
    end
  end)

  it("is associative and commutative up to rounding", function()
    local o1, l1 = part(1, 3)
    local o2, l2 = part(4, 9)
    local o3, l3 = part(10, 12)
    local left, left_lse = mosaic.merge(o1, l1, o2, l2)
    left, left_lse = mosaic.merge(left, left_lse, o3, l3)
    local right, right_lse = mosaic.merge(o3, l3, o2, l2)
    right, right_lse = mosaic.merge(right, right_lse, o1, l1)
    close(left, right, 1e-14)
    close(left_lse, right_lse, 1e-14)
  end)

  it("takes f32 results with their f64 lse, in place too", function()
    local o1, l1 = part(1, 5, "f32")
    local o2, l2 = part(6, 12, "f32")
    assert.same({ "f32", "f64" }, { o1.dtype, l1.dtype })
    local out, lse = mosaic.merge(o1, l1, o2, l2)
    local truth = dense.attention(q:to "f32", k:to "f32", v:to "f32")
    close(out:flat(), truth.out, 1e-6)
    close(lse:flat(), truth.lse, 1e-6)
    mosaic.attention.merge_(o1, l1, o2, l2)
    assert.same(out:flat(), o1:flat())
    assert.same(lse:flat(), l1:flat())
  end)

  it("never makes a NaN of empty parts, nor reads what they hold", function()
    local o1, l1 = part(1, 0)
    local o2, l2 = part(1, 12)
    o1:fill_(0 / 0)
    local out, lse = mosaic.merge(o1, l1, o2, l2)
    assert.same(o2:flat(), out:flat())
    assert.same(l2:flat(), lse:flat())
    out, lse = mosaic.merge(o1, l1, o1, l1)
    assert.equal(0, out:flat()[1])
    assert.equal(-math.huge, lse:flat()[1])
  end)

  it("keeps apart what differs by thousands", function()
    local o, l = part(1, 12)
    local out, lse = mosaic.merge(o, l + 5000, o * 2, l)
    assert.same(o:flat(), out:flat())
    close(lse, l + 5000, 1e-15)
  end)

  it("has gradients for all four", function()
    local o1, l1 = part(1, 5)
    local o2, l2 = part(6, 12)
    local inputs = { o1, l1, o2, l2 }
    for _, t in ipairs(inputs) do t:requires_grad_() end
    mosaic.gradcheck(mosaic.merge, inputs)
  end)

  it("has no gradient for an empty part", function()
    local o1, l1 = part(1, 0)
    local o2, l2 = part(1, 12)
    for _, t in ipairs { o1, l1, o2, l2 } do t:requires_grad_() end
    local out, lse = mosaic.merge(o1, l1, o2, l2)
    local weights = values(out.shape, 5)
    mosaic.autograd.backward({ out, lse }, { weights, lse:detach():zeros_like() })
    for _, t in ipairs { o1, l1 } do
      for _, g in ipairs(t.grad:flat()) do assert.equal(0, g) end
    end
    close(o2.grad, weights, 1e-15)
  end)

  it("refuses parts that do not fit", function()
    local o, l = part(1, 12)
    fails("merge: lse1 must be a tensor, got nil", function() mosaic.merge(o, nil, o, l) end)
    fails("merge: f64 [2,2,5] does not fit f64 [2,2,5,3]", function() mosaic.merge(o, l, l, l) end)
    fails("merge: partial results are f32 or f64, got bf16 [2,2,5,3]",
      function() mosaic.merge(o:to "bf16", l, o, l) end)
  end)
end)
