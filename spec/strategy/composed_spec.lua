local mosaic = require "mosaic"
local bytes = require "spec.support.bytes"
local cases = require "spec.support.contract_cases"
local contract = require "spec.support.contract"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"
local odd_masks = require "spec.support.odd_masks"

describe("composed", function()
  contract(it,
    { "composed", mesh_shape = { 2, 3 }, head_axis = 2, seq_parallel = { "ring", directions = 2 } },
    { ranks = { 6 }, lengths = { 13 }, heads = { 6, 2 }, layouts = { "striped" } })
  contract(it, { "composed", mesh_shape = { 2, 2 }, seq_parallel = "heads" },
    { ranks = { 4 }, lengths = { 7 }, heads = { 5, 1 }, layouts = { "indices" } })
  contract(it, { "composed", mesh_shape = { 2, 2 }, head_parallel = false },
    { ranks = { 4 }, lengths = { 5, 13 }, layouts = { "contiguous" } })
  -- a hierarchy asks for the nodes of ranks that are not split off yet
  contract(it, { "composed", mesh_shape = { 2, 2 }, seq_parallel = "hierarchical" },
    { ranks = { 4 }, lengths = { 7 }, layouts = { "zigzag" }, masks = { causal = cases.MASKS.causal } })
  contract(it, { "composed", mesh_shape = { 4, 2 }, head_axis = 2, seq_parallel = {
    "hierarchical", intra_node_size = 1, intra_node_strategy = { "hierarchical", intra_node_size = 1 } } },
    { ranks = { 8 }, lengths = { 13 }, layouts = { "zigzag" }, masks = { causal = cases.MASKS.causal } })
  odd_masks(it, { "composed", mesh_shape = { 2, 2 } }, { ranks = { 4 } })

  -- batch, heads, kv heads, rows, d of f32; n = 6 rows on each of 4 ranks
  local SIZES = { 1, 8, 2, 24, 4 }
  local n, width, kv_width, lse = 6, 8 * 4, 2 * 4, 8 * 8

  it("sends (2 + 2/g) n E b (h-1)/h and lse for the heads, 2 (s-1) n Hkv d b for the ring", function()
    local heads = (2 * n * width * 4 + 2 * n * kv_width * 4 + n * lse) / 2
    local ring = 2 * n * kv_width * 4
    for _, axis in ipairs { 1, 2 } do
      for _, sent in ipairs(bytes({ "composed", mesh_shape = { 2, 2 }, head_axis = axis }, 4, SIZES)) do
        assert.equal(heads + ring, sent)
      end
    end
  end)

  it("puts what sends less on the slow axis: heads, or the sequence where few heads have keys", function()
    local function slow_bytes(kv_heads, shape)
      return mosaic.virtual(shape[1] * shape[2], function(comm)
        local function part(heads)
          return mosaic.shard(fill { heads, 24, 4 }, { axis = 2, comm = comm })
        end
        local k = part(kv_heads)
        mosaic.attend(part(8), k, k, { strategy = { "composed", mesh_shape = shape }, comm = comm })
        local _, column = comm:grid(unpack(shape))
        return column:counters("all_to_all").calls > 0 and "heads" or "sequence"
      end)[1]
    end
    assert.equal("heads", slow_bytes(8, { 3, 2 }))
    assert.equal("sequence", slow_bytes(4, { 2, 2 }))
    assert.equal("heads", slow_bytes(4, { 8, 1 })) -- the ring's share grows with the axis, that of heads not
  end)

  it("predicts its bytes with masks that travel", function()
    local bias = mosaic.zeros { 8, 6, 24 }
    bytes({ "composed", mesh_shape = { 2, 2 }, seq_parallel = "heads" }, 4, SIZES, { mask = { bias = bias } })
    bytes("composed", 4, SIZES, { mask = { causal = true }, layout = "zigzag", wire = "int8" })
    bytes({ "composed", head_parallel = false }, 4, SIZES, { mask = { prefix = 9 } })
  end)

  it("runs the strategy of the sequence over the ranks that hold the same heads", function()
    mosaic.virtual(6, function(comm)
      local seen
      local x = mosaic.shard(fill { 4, 12, 3 }, { axis = 2, comm = comm })
      mosaic.attend(x, x, x, { comm = comm, strategy = {
        "composed", mesh_shape = { 2, 3 }, head_axis = 1,
        seq_parallel = function(inner, q, k, v, plan)
          local rows = table.concat(plan.queries:positions(0), " ")
          seen = { inner.size, inner.rank, q:size(1), plan.head_from, rows }
          return mosaic.strategy.get("ring").body.attend(inner, q, k, v, plan)
        end,
      } })
      local column, row = comm.rank % 3, math.floor(comm.rank / 3)
      assert.same({ 3, column, 2, row * 2 + 1, "1 2 7 8" }, seen)
    end)
  end)

  it("takes strategies that do not say what they send, alone or in others", function()
    local function mine(...) return mosaic.strategy.get("ring").body.attend(...) end
    for _, inner in ipairs { mine, { "hierarchical", intra_node_size = 1, intra_node_strategy = mine } } do
      for _, heads in ipairs { true, false } do
        local strategy = { "composed", seq_parallel = inner, head_parallel = heads }
        local options = { ranks = 4, quiet = true, dtypes = { "f64" } }
        assert.is_true(mosaic.verify(strategy, { rows = 9 }, options).ok)
      end
    end
  end)

  it("is as approximate as the strategy of the sequence", function()
    local function why(options) return mosaic.strategy.get(options).body.approximate end
    local pooled = { "compressed", ratio = 2 }
    assert.equal(why(pooled), why { "composed", seq_parallel = pooled })
    assert.equal(why(pooled), why { "composed", seq_parallel = { "composed", seq_parallel = pooled } })
    assert.is_nil(why { "composed", seq_parallel = "hierarchical" })
  end)

  it("refuses what is no mesh of the ranks, on every rank", function()
    mosaic.virtual(4, function(comm)
      local x = fill { 2, 3, 4 }
      local function refuses(text, options)
        options[1] = "composed"
        fails(text, function() mosaic.attend(x, x, x, { strategy = options, comm = comm }) end)
      end
      refuses("composed: mesh_shape {2, 3} is not a mesh of 4 ranks; {2, 2} is", { mesh_shape = { 2, 3 } })
      refuses("composed: mesh_shape[2] must be an integer", { mesh_shape = { 2, 1.5 } })
      refuses("local: the keys are spread over 2 ranks, and this strategy sees one rank's",
        { seq_parallel = "local" })
      refuses("spread over 4 ranks", { seq_parallel = { "local" }, head_parallel = false })
      refuses("composed: head_axis 3 is not one of 1, 2", { head_axis = 3 })
      refuses("ring: directions must be 1 or 2, got 3", { seq_parallel = { "ring", directions = 3 } })
      refuses("unknown option 'seq_paralel', did you mean 'seq_parallel'?", { seq_paralel = "ring" })
    end)
  end)
end)
