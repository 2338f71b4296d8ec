local dense = require "spec.support.dense"
local mosaic = require "mosaic"
local support = require "spec.support.attention"

local values, operands, expect_accurate = support.values, support.operands, support.expect_accurate

--- Sizes b, h, kv, nq, nk, d from which on matrix tiles work in parts of f32 numbers.
local SIZES = { 1, 2, 1, 70, 137, 64 }

local function nearer(s, _, h, i, j) return s * 0.5 + h - (i - j) * 0.01 end
dense.slopes[nearer] = function() return 0.5 end

describe("attention on axes that are long enough for matrix tiles", function()
  it("has at most twice the error of a plain implementation: sizes", function()
    for _, sizes in ipairs {
      { 1, 2, 1, 75, 130, 64 }, { 1, 1, 1, 350, 345, 24 }, { 1, 4, 2, 70, 140, 100 },
      { 1, 1, 1, 129, 128, 256 }, { 2, 1, 1, 161, 193, 65 },
    } do
      for _, dtype in ipairs { "f32", "bf16", "f16" } do
        local q, k, v = operands(sizes, dtype)
        expect_accurate(q, k, v, {}, (" for %s %s"):format(dtype, table.concat(sizes, ",")))
      end
    end
  end)

  it("... masks", function()
    local ids, order = {}, {}
    for i = 1, 137 do ids[i], order[i] = math.floor(i / 40), i * 77 % 137 + 1 end
    local q_ids = { unpack(ids, 1, 70) }
    for _, mask in ipairs {
      { causal = true }, { prefix = 75 }, { window = { 5, 60 } },
      { documents = { q = q_ids, k = ids } }, { causal = true, alibi = { 0.5, 0.0625 } },
      { bias = values({ 2, 70, 137 }, 4, "f32") },
      { score = nearer },
    } do
      for _, dtype in ipairs { "f32", "bf16" } do
        local q, k, v = operands(SIZES, dtype)
        expect_accurate(q, k, v, { mask = mask })
        if not mask.documents then expect_accurate(q, k, v, { mask = mask, k_positions = order }) end
      end
    end
  end)

  it("... dropout, and a scale that is no power of two", function()
    local q, k, v = operands(SIZES, "f32")
    expect_accurate(q, k, v, { dropout = { p = 0.3, seed = 5 }, mask = { causal = true } })
    expect_accurate(q, k, v, { scale = -0.37 })
  end)

  it("... scores of hundreds, growing from key to key", function()
    local q, k, v = operands({ 1, 1, 1, 140, 300, 64 }, "f32", 30)
    expect_accurate(q, k, v)
    for j = 1, 300 do k:select(3, j):fill_(j * (j % 2 == 0 and 0.1 or -0.1)) end
    expect_accurate(q, k, v)
  end)

  it("gives the same bits whatever the strides", function()
    local q = values({ 2, 141, 3, 64 }, 1, "f32"):permute(1, 3, 2, 4)
    local k = values({ 64, 2, 133, 3 }, 2, "f32"):permute(2, 4, 3, 1)
    local v = values({ 2, 3, 266, 64 }, 3, "f32"):slice(3, 2, -1, 2)
    local dout = values(q.shape, 7, "f32")
    local found, packed = support.run(q, k, v, {}, dout),
      support.run(q:contiguous(), k:contiguous(), v:contiguous(), {}, dout)
    for name, t in pairs(packed) do assert.same(t:flat(), found[name]:flat(), name) end
  end)

  it("gives the value of the only key that a query sees, and a probability of 1, to the bit", function()
    for _, dtype in ipairs { "f32", "bf16", "f16" } do
      local q, k, v = operands({ 1, 1, 1, 150, 150, 64 }, dtype, 30)
      local dout = values(q.shape, 7, "f32")
      local found = support.run(q, k, v, { mask = { window = { 0, 0 } } }, dout)
      assert.same(v:to "f32":flat(), found.out:flat())
      assert.same(dout:flat(), found.dv:flat())
    end
  end)

  it("loses no values that are subnormal", function()
    for _, dtype in ipairs { "f32", "bf16" } do
      local q, k, v = operands({ 1, 1, 1, 130, 140, 64 }, dtype)
      local truth = dense.attention(q, k, v * 2 ^ -126, {}).out
      assert.is_true(support.largest(truth) > 2 ^ -131)
      support.expect("out", mosaic.sdpa(q, k, v * 2 ^ -126), truth, 2 ^ -142)
    end
  end)

  it("... of one head beside another, in however many parts they are worked on", function()
    for _, dtype in ipairs { "f32", "bf16" } do
      local q, k, v = operands({ 1, 2, 2, 800, 800, 64 }, dtype)
      v:select(2, 2):mul_(2 ^ -126)
      local dout = values(q.shape, 7, "f32")
      local both = support.run(q, k, v, {}, dout)
      for head = 1, 2 do
        local function own(x) return x:narrow(2, head, 1) end
        local alone = support.run(own(q), own(k), own(v), {}, own(dout))
        for name, t in pairs(alone) do assert.equal(0, (own(both[name]) - t):abs():max():item(), name) end
      end
    end
  end)

  it("... however small or large its gradient is, or the scale", function()
    for _, dtype in ipairs { "f32", "bf16" } do
      for _, size in ipairs { 2 ^ -126, 2 ^ -110, 2 ^ -40, 2 ^ 70, 2 ^ 100 } do
        local q, k, v = operands({ 1, 1, 1, 150, 150, 64 }, dtype, 300)
        local dout = values(q.shape, 7, "f32")
        dout:select(3, 150):copy_(dout:select(3, 150) * size)
        local found = support.run(q, k, v, { mask = { window = { 0, 0 } } }, dout)
        assert.same(dout:flat(), found.dv:flat())
      end
      local q, k, v = operands({ 1, 1, 1, 150, 150, 64 }, dtype, 300)
      local dout, options = values(q.shape, 7, "f32"), { scale = 2 ^ 107, mask = { window = { 0, 0 } } }
      local found = support.run(q * 2 ^ -110, k, v, options, dout)
      assert.same(v:to "f32":flat(), found.out:flat())
      assert.same(dout:flat(), found.dv:flat())
    end
  end)

  it("gives gradients in proportion to dout", function()
    local q, k, v = operands(SIZES, "f32")
    local dout, options = values(q.shape, 7, "f32"), { mask = { causal = true } }
    local one = support.run(q, k, v, options, dout)
    for _, exponent in ipairs { -100, -60, 20, 90, 120 } do
      local found = support.run(q, k, v, options, dout * 2 ^ exponent)
      for _, name in ipairs { "dq", "dk", "dv" } do
        local same = (one[name] * 2 ^ exponent):flat()
        local bound = math.max(2 ^ -146, support.largest(same) * 2 ^ -20)
        support.expect(name, found[name], same, bound, " for 2^" .. exponent)
      end
    end
  end)

  it("leaves rows alone whose dout is finite", function()
    local q, k, v = operands({ 1, 1, 1, 150, 150, 64 }, "f32")
    local dout, options = values(q.shape, 7, "f32"), { mask = { window = { 3, 0 } } }
    local finite = support.run(q, k, v, options, dout)
    dout:select(3, 150):fill_(math.huge)
    local found = support.run(q, k, v, options, dout)
    local bound = support.largest(finite.dq:flat()) * 2 ^ -20
    support.expect("dq", found.dq:slice(3, 1, 149), finite.dq:slice(3, 1, 149):flat(), bound)
    for _, x in ipairs(found.dq:select(3, 150):flat()) do assert.is_false(math.abs(x) < math.huge) end
    for _, x in ipairs(found.dv:select(3, 150):flat()) do assert.is_false(math.abs(x) < math.huge) end
  end)

  it("loses no digits of weights that are nearly subnormal", function()
    local q, k, v = operands({ 1, 1, 1, 140, 140, 64 }, "f32")
    local dout = values(q.shape, 7, "f32")
    q:fill_(1)
    k:fill_(0):select(3, 77):fill_(-81 / 8)
    v = v * 2 ^ -75
    v:select(3, 77):copy_(values({ 1, 1, 64 }, 5, "f32") * 2 ^ 58)
    local truth = support.truth(q, k, v, {}, dout)
    local found = support.run(q, k, v, {}, dout)
    support.expect("out", found.out, truth.out, support.largest(truth.out) * 2 ^ -16)
    local at = 76 * 64
    local dv = { unpack(truth.dv, at + 1, at + 64) }
    support.expect("dv", found.dv:select(3, 77), dv, support.largest(dv) * 2 ^ -16)
  end)

  it("gives the same bits on several threads", function()
    local before, first = mosaic.threads(), nil
    finally(function() mosaic.set_threads(before) end)
    local q, k, v = operands({ 1, 1, 1, 1700, 1300, 32 }, "f32")
    local dout = values(q.shape, 7, "f32")
    for threads = 1, 3 do
      mosaic.set_threads(threads)
      local found = support.run(q, k, v, { mask = { causal = true } }, dout)
      first = first or found
      for _, name in ipairs { "out", "lse", "dq", "dk", "dv" } do
        assert.same(first[name]:flat(), found[name]:flat(), name)
      end
    end
  end)
end)
