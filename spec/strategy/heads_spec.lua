local mosaic = require "mosaic"
local bytes = require "spec.support.bytes"
local close = require "spec.support.close"
local contract = require "spec.support.contract"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"
local head_split = require "mosaic.head_split"
local odd_masks = require "spec.support.odd_masks"

describe("heads", function()
  describe("with groups cut between ranks", function() -- 9 heads on 2 ranks: 3 + 2 of the groups
    contract(it, "heads", { ranks = { 2, 4, 6, 7 }, lengths = { 13 }, heads = { 9, 3 },
      layouts = { "zigzag", "striped" } })
  end)
  odd_masks(it, "heads", { ranks = { 2, 4, 7 } })

  it("gives each rank its heads, and no more of the keys' than these need", function()
    local function shares(ranks, heads, kv_heads)
      local list = {}
      for i, s in ipairs(head_split.shares(ranks, heads, kv_heads)) do
        list[i] = { s.first, s.count, s.kv_first, s.kv_count, s.repeats }
      end
      return list
    end
    assert.same({ { 1, 4, 1, 2 }, { 5, 4, 3, 2 } }, shares(2, 8, 4))
    assert.same({ { 1, 2, 1, 1 }, { 3, 2, 1, 1 }, { 5, 2, 2, 1 }, { 7, 2, 2, 1 } }, shares(4, 8, 2))
    -- heads 1 2 3 | 4 5 6 | 7 8 9: a rank with 1..5 has one key head three times, the other twice
    assert.same({ { 1, 5, 1, 2, { 1, 1, 1, 2, 2 } }, { 6, 4, 2, 2, { 1, 2, 2, 2 } } }, shares(2, 9, 3))
    assert.same({ { 1, 1, 1, 1 }, { 2, 1, 1, 1 }, { 3, 0, 1, 0 } }, shares(3, 2, 1))
    -- 1 2 3 4 | 5 6 / 7 8 | 9 10 11 12: four and two heads; one key head twice will do
    assert.same({ 1, 1, 2 }, head_split.shares(2, 12, 3)[1].repeats)
    assert.same({ 1, 2, 2 }, head_split.shares(2, 12, 3)[2].repeats)
  end)

  it("sends (2 + 2/g) n E b (p-1)/p and lse", function()
    local batch, heads, kv_heads, rows, d = 2, 8, 4, 24, 4
    for _, ranks in ipairs { 1, 2, 4 } do
      local n, group, width = batch * rows / ranks, heads / kv_heads, heads * d
      local expected = ((2 + 2 / group) * n * width * 4 + n * heads * 8) * (ranks - 1) / ranks
      for _, sent in ipairs(bytes("heads", ranks, { batch, heads, kv_heads, rows, d })) do
        assert.equal(expected, sent)
      end
    end
  end)

  it("sends a key head to two ranks where its group is cut, and no keys beyond the prefix", function()
    -- 2 ranks, 3 heads (2 + 1) of one key head, 10 rows (5 + 5) of which 6 are seen, d 4, f32
    local sent = bytes("heads", 2, { 1, 3, 1, 10, 4 }, { mask = { prefix = 6 } })
    assert.same({
      5 * 1 * 16 + 2 * 5 * 16 + 5 * 2 * (16 + 8), -- q head 3; 5 keys and values; 2 heads of 5 rows
      5 * 2 * 16 + 2 * 1 * 16 + 5 * 1 * (16 + 8),
    }, sent)
  end)

  it("predicts its bytes, whatever travels", function()
    bytes("heads", 3, { 2, 5, 5, 11, 4 }, { layout = "striped", dtype = "bf16", wire = "int8" })
    bytes("heads", 4, { 2, 6, 2, 11, 4 }, { mask = { causal = true, window = { 3, 0 } } })
    bytes("heads", 2, { 2, 3, 1, 6, 4 }, { mask = { bias = mosaic.zeros { 3, 3, 6 } } })
    bytes("heads", 2, { 2, 3, 1, 6, 4 }, { mask = { keep = mosaic.ones { 6, dtype = "u8" } } })
  end)

  it("refuses what does not fit on every rank, before anything is sent", function()
    mosaic.virtual(2, function(comm)
      local q, k = fill { 3, 4, 4 }, fill { 2, 4, 4 }
      comm:reset_counters()
      fails("3 heads of q are not a multiple of 2 heads of k", function()
        mosaic.attend(q, k, k, { strategy = "heads", comm = comm })
      end)
      fails("alibi f64 [2] does not broadcast to", function()
        mosaic.attend(q, q, q, { strategy = "heads", comm = comm, mask = { alibi = { 1, 2 } } })
      end)
      assert.equal(0, comm:counters("all_to_all").calls)
    end)
  end)

  it("takes operands without an axis of heads", function()
    local x = fill { 7, 4 }
    local expected, expected_lse = mosaic.sdpa(x, x, x)
    mosaic.virtual(3, function(comm)
      local options = { axis = 1, comm = comm }
      local part = mosaic.shard(x, options)
      local out, lse = mosaic.attend(part, part, part, { strategy = "heads", comm = comm })
      close(mosaic.unshard(out, options), expected)
      close(mosaic.unshard(lse, options), expected_lse)
    end)
  end)
end)
