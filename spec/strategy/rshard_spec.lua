local mosaic = require "mosaic"
local bytes = require "spec.support.bytes"
local close = require "spec.support.close"
local contract = require "spec.support.contract"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"
local odd_masks = require "spec.support.odd_masks"
local rows_of = require "spec.support.rows_of"

describe("rshard", function()
  contract(it, { "rshard", tokens = { cluster = 2, period = 7 } },
    { ranks = { 4 }, lengths = { 3, 17 }, layouts = { "indices" } })
  odd_masks(it, { "rshard", beta = 2 }, { ranks = { 3 } })

  it("leaves the rows with compute ranks, and the attention to others", function()
    local sets = mosaic.rshard.sets { rows = 17, cluster = 2, period = 4, group = 1 }
    local names = { "q", "k", "v", "dout", "bias" }
    local x = { bias = fill({ 3, 17, 17 }, { seed = 9 }) }
    for i = 1, 4 do x[names[i]] = fill({ (i == 2 or i == 3) and 1 or 3, 17, 4 }, { seed = i }) end
    local function run(own, attend, options)
      local leaf = {}
      for name, t in pairs(own) do leaf[name] = t:detach():requires_grad_() end
      options.mask = { causal = true, bias = leaf.bias }
      local out, lse = attend(leaf.q, leaf.k, leaf.v, options)
      mosaic.autograd.backward({ out, lse }, { own.dout, lse:ones_like() })
      return { out = out:detach(), lse = lse:detach(), q = leaf.q.grad, k = leaf.k.grad, v = leaf.v.grad,
        bias = leaf.bias.grad }
    end
    local truth = run(x, mosaic.sdpa, {})
    assert.equal(2, #sets.compute)
    assert.equal(4, #sets.attention)
    mosaic.virtual(2 + 16, function(comm)
      local indices = sets:indices(comm.size)
      local positions, own = indices[comm.rank + 1], {}
      for name, t in pairs(x) do own[name] = rows_of(t, -2, positions) end
      local result = run(own, mosaic.attend, {
        comm = comm, indices = indices,
        strategy = { "rshard", compute = 2, tokens = { cluster = 2, period = 4, group = 1 } },
      })
      for name, whole in pairs(truth) do
        close(result[name], rows_of(whole, name == "lse" and -1 or -2, positions))
      end
    end)
  end)

  -- batch, heads, kv heads, rows, d, f32
  local SIZES = { 1, 4, 2, 24, 8 }
  local q_row, kv_row, partial_row = 4 * 8 * 4, 2 * 2 * 8 * 4, 4 * (8 * 4 + 8)

  it("sends each row to beta nodes, and beta partial results back", function()
    -- 9 attention ranks without rows, of sets of 8; 2 compute ranks with 12 rows each
    local lists, indices = {}, {}
    for i = 1, 3 do lists[i] = {} end
    for rank = 1, 11 do indices[rank] = {} end
    for row = 1, 24 do
      table.insert(lists[row % 3 + 1], row)
      table.insert(indices[row % 2 + 1], row)
    end
    mosaic.virtual(11, function(comm)
      local function part(heads)
        return rows_of(fill { heads, 24, 8 }, 2, indices[comm.rank + 1]):to "f32"
      end
      local k = part(2)
      mosaic.attend(part(4), k, k, {
        comm = comm, indices = indices, strategy = { "rshard", compute = 2, attention = lists },
      })
      local sent = comm:counters("all_to_all").bytes_sent
      assert.equal(comm.rank < 2 and 12 * 3 * (q_row + kv_row) or 8 * partial_row, sent)
    end)
  end)

  it("predicts its bytes: overlaid, with any mask, layout and number of ranks", function()
    bytes("rshard", 4, SIZES, { mask = { causal = true }, layout = "zigzag" })
    bytes({ "rshard", beta = 3 }, 2, SIZES, { mask = { prefix = 5 }, wire = "fp8" })
    local bias = mosaic.zeros { 4, 8, 24 }
    bytes({ "rshard", beta = 2, ranks = { 2, 0, 2, 1 } }, 3, SIZES, { mask = { bias = bias } })
  end)

  it("is exact where a sum of exponentials would overflow", function()
    local x = fill({ 1, 12, 4 }, { seed = 3 }) * 30 -- scores of thousands
    local expected, expected_lse = mosaic.sdpa(x, x, x)
    mosaic.virtual(4, function(comm)
      local options = { axis = 2, comm = comm }
      local part = mosaic.shard(x, options):to "f32"
      local out, lse = mosaic.attend(part, part, part, { comm = comm, strategy = "rshard" })
      close(mosaic.unshard(out, options), expected, 1e-5)
      close(mosaic.unshard(lse, options), expected_lse, 1e-5)
    end)
  end)

  it("refuses sets and roles that do not fit, on every rank", function()
    mosaic.virtual(3, function(comm)
      local x = fill { 2, 2, 4 } -- 6 rows
      local function refuses(text, options)
        options[1] = "rshard"
        comm:reset_counters()
        fails(text, function() mosaic.attend(x, x, x, { strategy = options, comm = comm }) end)
        assert.equal(0, comm:counters("all_to_all").calls)
      end
      refuses("rshard: index 3 is in attention set 1 and in attention set 2",
        { attention = { { 1, 2, 3 }, { 3, 4, 5, 6 } } })
      refuses("rshard: index 5 is in no attention set", { attention = { { 1, 2, 3 }, { 4, 6 } } })
      refuses("rshard: index 99 is in attention set 2, the last row is 6",
        { attention = { { 1, 2, 3 }, { 4, 5, 6, 99 } } })
      refuses("rshard: attention has 1 sets of queries and 2 of keys",
        { attention = { q = { { 1, 2, 3, 4, 5, 6 } }, k = { { 1, 2, 3 }, { 4, 5, 6 } } } })
      refuses("rshard: beta, tokens and attention exclude each other", { beta = 2, tokens = {} })
      refuses("rshard: beta must be an integer of at least 1, got 0", { beta = 0 })
      refuses("rshard: rank 2 brings 4 rows, but only the first 2 ranks compute", { compute = 2 })
      refuses("rshard: 4 compute ranks, there are 3 ranks", { compute = 4 })
      refuses("rshard: 3 ranks for 2 x 2 attention nodes", { beta = 2, ranks = { 0, 1, 2 } })
      refuses("rshard: node (2,2) is on rank 3, the ranks are 0..2", { beta = 2, ranks = { 0, 1, 2, 3 } })
    end)
  end)
end)
