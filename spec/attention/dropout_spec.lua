local mosaic = require "mosaic"
local close = require "spec.support.close"
local fails = require "spec.support.fails"
local support = require "spec.support.attention"

local values, operands, shuffled = support.values, support.operands, support.shuffled
local expect_exact, expect_accurate = support.expect_exact, support.expect_accurate

--- What became of each probability, (batch..., heads, nq, nk): the result for one-hot values of equal
-- probabilities, times their number.
local function factors(shape, nk, options)
  local q = mosaic.zeros { dtype = "f64", unpack(shape) }
  local d = q:size(-1)
  local parts = {}
  for from = 1, nk, d do
    local v = mosaic.zeros { nk, d, dtype = "f64" }
    for c = 1, math.min(d, nk - from + 1) do v:set(from + c - 1, c, 1) end
    local keys = { unpack(shape) }
    keys[#keys - 1] = nk
    v = v:expand(keys):contiguous()
    parts[#parts + 1] = mosaic.sdpa(q, v:zeros_like(), v, options) * nk
  end
  return mosaic.cat(parts, -1):narrow(-1, 1, nk)
end

describe("dropout in attention", function()
  local some = { p = 0.3, seed = 11 }

  it("is exact with gradients in f64, under masks and in any order", function()
    local q, k, v = operands { 2, 4, 2, 7, 10, 3 }
    for _, mask in ipairs { {}, { causal = true }, { bias = values({ 4, 7, 10 }, 4) }, { prefix = 0 } } do
      expect_exact(q, k, v, { mask = mask, dropout = some })
      expect_exact(q, k, v, { mask = mask, dropout = some, head_from = 3, batch_from = { 5 },
        q_positions = shuffled(7, 3), k_positions = shuffled(10, 7) })
    end
    expect_exact(values({ 2, 3, 2, 5, 4 }, 1), values({ 2, 3, 1, 6, 4 }, 2), values({ 2, 3, 1, 6, 4 }, 3),
      { dropout = some, batch_from = { 4, 2 }, batch_total = 9 })
  end)

  it("has at most twice the error of a plain implementation in f32", function()
    for _, case in ipairs {
      { { 1, 2, 1, 21, 37, 8 } }, { { 2, 2, 1, 53, 70, 24 }, { causal = true } },
      { { 1, 1, 1, 130, 150, 5 }, { window = 20 } }, { { 1, 1, 1, 20, 700, 64 } },
      { { 7, 3, 3, 5, 6, 24 } }, { { 5, 4, 2, 6, 9, 5 } }, { { 9, 2, 2, 16, 16, 7 } },
    } do
      local q, k, v = operands(case[1], "f32")
      local n, m = q:size(-2), k:size(-2)
      expect_accurate(q, k, v, { mask = case[2], dropout = some })
      expect_accurate(q, k, v, { mask = case[2], dropout = some, head_from = 2, batch_from = { 3 },
        q_positions = shuffled(n, 11), k_positions = shuffled(m, 13) })
    end
  end)

  it("leaves lse alone, and changes nothing at p = 0", function()
    for _, dtype in ipairs { "f32", "f64" } do
      local q, k, v = operands({ 1, 2, 2, 30, 40, 8 }, dtype)
      local out, lse = mosaic.sdpa(q, k, v)
      local dropped, dropped_lse = mosaic.sdpa(q, k, v, { dropout = some })
      assert.same(lse:flat(), dropped_lse:flat())
      assert.is_true(support.distance(dropped:flat(), out:flat()) > 0.05)
      assert.same(out:flat(), mosaic.sdpa(q, k, v, { dropout = { p = 0, seed = 11 } }):flat())
    end
  end)

  it("differentiates as it computes", function()
    local q, k, v = operands { 2, 2, 1, 3, 5, 2 }
    for _, t in ipairs { q, k, v } do t:requires_grad_() end
    mosaic.gradcheck(function(a, b, c)
      return mosaic.sdpa(a, b, c, { dropout = some, mask = { causal = true }, q_positions = { 2, 5, 4 } })
    end, { q, k, v })
  end)

  it("drops so many, one as often as another, and differently for another seed, head or entry", function()
    local shape, nk = { 2, 3, 60, 32 }, 50
    local kept = factors(shape, nk, { dropout = some })
    local function rate(t) return (t:gt(0)):to("f64"):mean() end
    close(rate(kept):item(), 0.7, 4 * math.sqrt(0.21 / 18000))
    close(kept:max():item(), 1 / 0.7)
    for axis = 1, 4 do
      local each = kept:gt(0):to "f64"
      for other = 1, 4 do if other ~= axis then each = each:mean(other, true) end end
      local room = 4.5 * math.sqrt(0.21 * each:numel() / 18000)
      assert.is_true((each - 0.7):abs():max():item() < room, "axis " .. axis)
    end
    local function agreement(a, b) return a:gt(0):eq(b:gt(0)):to("f64"):mean():item() end
    local chance, room = 0.7 ^ 2 + 0.3 ^ 2, 4 * math.sqrt(0.25 / 3000)
    close(agreement(kept:select(1, 1):select(1, 1), kept:select(1, 2):select(1, 1)), chance, room)
    close(agreement(kept:select(1, 1):select(1, 1), kept:select(1, 1):select(1, 2)), chance, room)
    close(agreement(kept, factors(shape, nk, { dropout = { p = 0.3, seed = 12 } })), chance, room)
    close(agreement(kept:narrow(-2, 1, 50), kept:narrow(-2, 1, 50):transpose(-1, -2)), chance, room)
  end)

  it("keeps the same pairs in a part as in the whole", function()
    local kept = factors({ 4, 6, 21, 8 }, 30, { dropout = some })
    local part = factors({ 2, 3, 5, 8 }, 7, {
      dropout = some, head_from = 4, batch_from = { 2 },
      q_positions = { 21, 3, 4, 17, 9 }, k_positions = { 6, 7, 8, 30, 1, 2, 13 },
    })
    local rows, columns = mosaic.tensor({ 21, 3, 4, 17, 9 }, { dtype = "i64" }),
      mosaic.tensor({ 6, 7, 8, 30, 1, 2, 13 }, { dtype = "i64" })
    local expected = kept:narrow(1, 2, 2):narrow(2, 4, 3):index_select(-2, rows):index_select(-1, columns)
    close(part, expected)
    assert.is_true(part:eq(0):to("f64"):sum():item() > 20)
  end)

  for _, dtype in ipairs { "f32", "f64" } do
    it("gives the whole from two blocks of keys and of heads, forward and backward, in " .. dtype, function()
      local q, k, v = operands({ 2, 4, 4, 40, 61, 8 }, dtype)
      local dout = values(q.shape, 7, dtype)
      local whole = support.run(q, k, v, { dropout = some }, dout)
      local delta = mosaic.attention.delta(dout, whole.out)
      for h = 1, 4, 2 do
        local function heads(t) return t:narrow(2, h, 2) end
        local dq, dk, dv = heads(q):zeros_like(), heads(k):zeros_like(), heads(v):zeros_like()
        local out, lse
        for _, block in ipairs { { 1, 22 }, { 23, 39 } } do
          local positions = {}
          for j = block[1], block[1] + block[2] - 1 do positions[#positions + 1] = j end
          local function keys(t) return t:narrow(3, unpack(block)) end
          local options = { dropout = some, k_positions = positions, head_from = h }
          local o, l = mosaic.attention.forward(heads(q), keys(heads(k)), keys(heads(v)), options)
          if out then mosaic.attention.merge_(out, lse, o, l) else out, lse = o, l end
          options.into = { dq, keys(dk), keys(dv) }
          mosaic.attention.backward(heads(dout), heads(whole.lse), heads(delta), heads(q), keys(heads(k)),
            keys(heads(v)), options)
        end
        for name, t in pairs { out = out, lse = lse, dq = dq, dk = dk, dv = dv } do
          close(t, heads(whole[name]), dtype == "f64" and 1e-14 or 1e-5)
        end
      end
    end)
  end

  it("is the same on one rank and on several", function()
    local q, k, v = operands { 2, 4, 2, 23, 23, 3 }
    local dout = values(q.shape, 7)
    local whole = support.run(q, k, v,
      { dropout = some, mask = { causal = true }, head_from = 5, batch_from = { 3 } }, dout)
    for _, layout in ipairs { "contiguous", "zigzag", "striped" } do
      mosaic.virtual(3, function(comm)
        local function own(t) return mosaic.shard(t, { axis = -2, comm = comm, layout = layout }) end
        local mine = { q = own(q):requires_grad_(), k = own(k):requires_grad_(), v = own(v):requires_grad_() }
        local out = mosaic.attend(mine.q, mine.k, mine.v, { strategy = "ring", comm = comm, layout = layout,
          dropout = some, mask = { causal = true }, head_from = 5, batch_from = { 3 } })
        out:backward(own(dout))
        close(out, own(whole.out))
        for name, t in pairs(mine) do close(t.grad, own(whole["d" .. name])) end
      end)
    end
  end)

  it("gives the same bits on several threads", function()
    local before = mosaic.threads()
    local q, k, v = operands({ 1, 2, 1, 500, 300, 8 }, "f32")
    local dout, results = values(q.shape, 7, "f32"), {}
    for threads = 1, 3 do
      mosaic.set_threads(threads)
      results[threads] = support.run(q, k, v, { dropout = some, mask = { causal = true } }, dout)
      for name, t in pairs(results[threads]) do assert.same(results[1][name]:flat(), t:flat(), name) end
    end
    mosaic.set_threads(before)
  end)

  it("refuses what is no probability and no seed", function()
    local q, k, v = operands { 1, 1, 1, 2, 2, 2 }
    local function refuses(text, dropout)
      fails(text, function() mosaic.sdpa(q, k, v, { dropout = dropout }) end)
    end
    refuses("sdpa: dropout: p must be in [0, 1), got 1", { p = 1, seed = 1 })
    refuses("sdpa: dropout: p must be in [0, 1), got nan", { p = 0 / 0, seed = 1 })
    refuses("sdpa: dropout: option 'seed' (number) is missing", { p = 0.5 })
    refuses("sdpa: dropout: seed must be an integer of at least 0, got -1", { p = 0.5, seed = -1 })
    refuses("sdpa: dropout: unknown option 'rate' (known: p, seed)", { rate = 0.5 })
    fails("attend: dropout: p must be in [0, 1), got -1", function()
      mosaic.attend(q, k, v, { dropout = { p = -1, seed = 1 } })
    end)
    refuses("sdpa: dropout: expected a table of options, got number", 0.5)
  end)
end)
