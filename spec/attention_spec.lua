local mosaic = require "mosaic"
local fails = require "spec.support.fails"
local support = require "spec.support.attention"

local documents, keep = support.documents, support.keep
local values, operands, expect_exact = support.values, support.operands, support.expect_exact

--- Masks for q (2,4,13,d) and k (2,2,17,d).
local masks = {
  none = {},
  causal = { causal = true },
  ["a window"] = { window = 3 },
  ["a lopsided window"] = { window = { 1, 4 } },
  ["a prefix"] = { prefix = 6 },
  ["an empty prefix"] = { prefix = 0 },
  documents = { documents = { q = documents(13, 4), k = documents(17, 5) } },
  ["documents per batch entry"] = { documents = { q = documents(13, 4, 2), k = documents(17, 5, 2) } },
  alibi = { alibi = { 0.5, 0.25, 0.125, 0.0625 } },
  ["a kept set"] = { keep = keep { 13, 17 } },
  ["a kept set per head"] = { keep = keep { 2, 4, 1, 17 } },
  ["a bias"] = { bias = values({ 4, 13, 17 }, 4) },
  ["a bias of keys"] = { bias = values({ 2, 1, 1, 17 }, 4) },
  ["everything at once"] = {
    causal = true, window = { 9, 2 }, prefix = 14, documents = { q = documents(13, 9), k = documents(17, 9) },
    alibi = { 0.5, 0.25, 0.125, 0.0625 }, keep = keep { 4, 13, 17 }, bias = values({ 1, 17 }, 4),
  },
}

describe("attention in f64", function()
  for name, mask in pairs(masks) do
    it("is exact with gradients, masked by " .. name, function()
      support.expect_exact_masked(mask)
    end)
  end

  it("takes zero, one or two batch axes, and no axis of heads", function()
    for _, front in ipairs { { 4, 3 }, { 2, 4, 3 }, { 2, 2, 4, 3 }, { 2, 3, 2, 4, 3 } } do
      local keys = { unpack(front) }
      keys[#keys - 1] = 5
      if #keys > 2 then keys[#keys - 2] = 1 end
      expect_exact(values(front, 1), values(keys, 2), values(keys, 3), { mask = { causal = true } })
    end
  end)

  it("reads any strides, and writes where it is told", function()
    local q = values({ 2, 13, 3, 8 }, 1):permute(1, 3, 2, 4)
    local k = values({ 8, 2, 17, 3 }, 2):permute(2, 4, 3, 1)
    local v = values({ 2, 3, 34, 8 }, 3):slice(3, 2, -1, 2)
    expect_exact(q, k, v)
    local out, lse = mosaic.sdpa(q, k, v)
    local place = mosaic.zeros { 2, 13, 3, 8, dtype = "f64" }
    local other = mosaic.attention.forward(q, k, v, { out = place:permute(1, 3, 2, 4) })
    assert.same(out:flat(), other:contiguous():flat())
    assert.same(out:permute(1, 3, 2, 4):contiguous():flat(), place:flat())
    assert.same(lse.shape, { 2, 3, 13 })
  end)

  it("gives 0 and -inf to a query without keys, with gradients 0", function()
    local q, k, v = operands { 1, 1, 1, 4, 3, 2 }
    local out, lse = mosaic.sdpa(q, k, v, { mask = { causal = true }, k_positions = { 2, 3, 4 } })
    assert.same({ 0, 0 }, out[1][1][1]:tolist())
    assert.equal(-math.huge, lse:get(1, 1, 1))
    expect_exact(q, k, v, { mask = { causal = true }, k_positions = { 2, 3, 4 } })
    for _, dtype in ipairs { "f32", "f64" } do
      local none, empty = values({ 1, 1, 0, 2 }, 1, dtype), values({ 1, 1, 0, 2 }, 2, dtype)
      out, lse = mosaic.sdpa(q:to(dtype), none, empty)
      assert.same({ 0, 0, 0, 0, 0, 0, 0, 0 }, out:flat())
      assert.same({ -math.huge, -math.huge, -math.huge, -math.huge }, lse:flat())
      assert.same({ 1, 1, 0, 2 }, mosaic.sdpa(none, k:to(dtype), v:to(dtype)).shape)
    end
  end)

  it("does so for many problems without keys, one after the other", function()
    local q, k, v = operands({ 5, 2, 2, 20, 0, 24 }, "f32")
    local out, lse = mosaic.sdpa(q, k, v)
    assert.same({ 0, -math.huge }, { out:abs():max():item(), lse:max():item() })
    q:requires_grad_();
    (mosaic.sdpa(q, k, v)):sum():backward()
    assert.equal(0, q.grad:abs():max():item())
  end)

  it("never hides a NaN", function()
    for _, dtype in ipairs { "f32", "f64" } do
      for _, spoilt in ipairs { 1, 2, 3 } do
        local tensors = { operands({ 1, 1, 1, 20, 20, 3 }, dtype) }
        tensors[spoilt]:set(1, 1, 10, 2, 0 / 0)
        local out = mosaic.sdpa(unpack(tensors)):flat()
        local from, to = spoilt == 1 and 10 or 1, spoilt == 1 and 10 or 20
        for i = from, to do assert.is_true(out[i * 3 - 1] ~= out[i * 3 - 1], dtype .. " query " .. i) end
      end
    end
  end)

  it("differentiates out, lse and bias", function()
    local q, k, v = operands { 2, 4, 2, 3, 4, 2 }
    local bias = values({ 4, 1, 4 }, 4)
    for _, t in ipairs { q, k, v, bias } do t:requires_grad_() end
    mosaic.gradcheck(function(a, b, c, d)
      return mosaic.sdpa(a, b, c, { mask = { causal = true, bias = d } })
    end, { q, k, v, bias })
    local out, lse = mosaic.sdpa(q, k, v)
    lse:sum():backward()
    assert.is_not_nil(q.grad)
    assert.is_true(out.requires_grad)
  end)
end)

describe("attention refuses", function()
  local q, k, v = operands { 2, 4, 2, 5, 7, 3 }

  local function refuses(text, ...)
    local arguments = { ... }
    fails(text, function() mosaic.sdpa(unpack(arguments)) end)
  end

  it("operands that do not fit together", function()
    refuses("sdpa: q must be a tensor, got nil", nil, k, v)
    refuses("attention: k f64 [2,3,7,3]", q, values({ 2, 3, 7, 3 }, 1), v)
    refuses("attention: 4 heads of q are not a multiple of 3 heads of k (q f64 [2,4,5,3], k f64 [2,3,7,3])",
      q, values({ 2, 3, 7, 3 }, 1), values({ 2, 3, 7, 3 }, 1))
    refuses("attention: q, k and v must have one dtype, got f64 [2,4,5,3], f32 [2,2,7,3] and f64 [2,2,7,3]",
      q, k:to "f32", v)
    refuses("attention: k f64 [2,2,7,4] does not fit q f64 [2,4,5,3]: batch sizes and head size must be",
      q, values({ 2, 2, 7, 4 }, 1), values({ 2, 2, 7, 4 }, 1))
    refuses("attention: head size 257 of q f64 [1,1,257] is not in 1..256", values({ 1, 1, 257 }, 1),
      values({ 1, 1, 257 }, 1), values({ 1, 1, 257 }, 1))
    refuses("attention: q must be a float tensor (batch..., heads, rows, head size) with 2 to 5 dims, got",
      mosaic.arange(1, 3), k, v)
    local x = values({ 3, 4 }, 1)
    fails("attention: a result (f64 [3,4]) shares memory with an operand (f64 [3,4])",
      function() mosaic.attention.forward(x, x, x, { out = x }) end)
    local out, lse = mosaic.sdpa(x, x, x)
    local delta = mosaic.attention.delta(out, out)
    fails("attention_backward: a result (f64 [3,4]) shares memory with an operand (f64 [3,4])",
      function()
        mosaic.attention.backward(out, lse, delta, x, x, x, { into = { x, x:clone(), x:clone() } })
      end)
  end)

  it("masks that do not", function()
    local function mask(text, entries) refuses(text, q, k, v, { mask = entries }) end
    mask("sdpa: mask: unknown option 'casual', did you mean 'causal'?", { casual = true })
    mask("sdpa: mask.causal must be true or false, got 1", { causal = 1 })
    mask("sdpa: mask.window (left) must be an integer of at least 0, got -3", { window = -3 })
    mask("sdpa: mask.prefix must be an integer of at least 0, got 1.5", { prefix = 1.5 })
    mask("attention: k_documents i64 [5] does not broadcast to i64 [1,2,7]",
      { documents = { 1, 1, 1, 2, 2 } })
    mask("attention: alibi f64 [3] does not broadcast to f64 [4]", { alibi = { 1, 2, 3 } })
    mask("attention: keep has the wrong dtype: f64 [5,7]", { keep = values({ 5, 7 }, 1) })
    mask("attention: bias f64 [4,5] does not broadcast to f64 [1,2,4,5,7]", { bias = values({ 4, 5 }, 1) })
    mask("sdpa: mask.alibi f64 [4] wants a gradient, but has none: use mask.bias, or",
      { alibi = values({ 4 }, 1):requires_grad_() })
    mask("sdpa: mask.bias must be a tensor, got 3", { bias = 3 })
    refuses("sdpa: unknown option 'makss', did you mean 'mask'?", q, k, v, { makss = {} })
    refuses("sdpa: head_from must be an integer of at least 1, got 0", q, k, v, { head_from = 0 })
    refuses("sdpa: batch_from must be a list of at most 2 integers, got 3", q, k, v, { batch_from = 3 })
    refuses("sdpa: batch_from[2] must be an integer of at least 1, got 0.5", q, k, v,
      { batch_from = { 1, 0.5 } })
    refuses("attention: indices 3..4 of the last batch axis are not in its batch_total 3", q, k, v,
      { batch_from = { 2, 3 }, batch_total = 3 })
    refuses("attention: q_positions i64 [4] does not broadcast to i64 [5]", q, k, v,
      { q_positions = { 1, 2, 3, 4 } })
  end)
end)
