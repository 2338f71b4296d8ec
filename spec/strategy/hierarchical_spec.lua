local mosaic = require "mosaic"
local bytes = require "spec.support.bytes"
local cases = require "spec.support.contract_cases"
local contract = require "spec.support.contract"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"
local odd_masks = require "spec.support.odd_masks"

local function hierarchical(size, inside, between)
  return {
    "hierarchical", intra_node_size = size, intra_node_strategy = inside, inter_node_strategy = between,
  }
end

--- Masks of different kinds: all of them meet the strategy by its name alone in contract_spec.lua.
local FEW = { causal = cases.MASKS.causal, documents = cases.MASKS.documents, bias = cases.MASKS.bias }

describe("hierarchical", function()
  contract(it, hierarchical(2, "ring"),
    { ranks = { 1, 2, 4, 5, 6 }, lengths = { 0, 1, 13 }, layouts = { "zigzag", "indices" } })
  contract(it, hierarchical(2, { "local" }, "gather"),
    { ranks = { 4, 6 }, lengths = { 0, 1, 13 }, layouts = { "contiguous", "indices" }, masks = FEW })
  contract(it, hierarchical(3, "ring", { "ring", directions = 2 }),
    { ranks = { 6 }, lengths = { 13 }, layouts = { "striped" }, masks = FEW })
  describe("over nodes that differ in size", function()
    contract(it, { "hierarchical", nodes = { { 0, 2 }, { 1, 3, 4 } }, intra_node_strategy = "heads" },
      { ranks = { 5 }, lengths = { 3, 13 }, layouts = { "contiguous", "indices" }, masks = FEW })
    contract(it, { "hierarchical", nodes = { { 3, 1, 0 }, { 2 } }, inter_node_strategy = "gather" },
      { ranks = { 4 }, lengths = { 13 }, layouts = { "zigzag" }, masks = FEW })
  end)
  describe("of three levels", function()
    contract(it, hierarchical(4, hierarchical(2, "ring")),
      { ranks = { 7, 8 }, lengths = { 17 }, layouts = { "zigzag" }, masks = FEW })
    contract(it, hierarchical(4, hierarchical(2, "local", "gather")),
      { ranks = { 8 }, lengths = { 13 }, layouts = { "striped" }, masks = { bias = FEW.bias } })
  end)
  odd_masks(it, hierarchical(2, "heads"), { ranks = { 4 } })

  -- batch, heads, kv heads, rows, d of f32; n = 4 rows on each of 6 ranks; bytes of one rank's k and v
  local SIZES = { 1, 2, 1, 24, 4 }
  local OWN = 2 * 4 * 4 * 4

  --- What goes between nodes of 2 and inside them, per rank, in one forward pass; and in backward.
  local function counted(ranks, options)
    return unpack(mosaic.virtual(ranks, function(comm)
      local function part(heads)
        return mosaic.shard(fill { heads, 24, 4 }, { axis = 2, comm = comm }):to("f32"):requires_grad_()
      end
      local k = part(1)
      local function sent(body)
        local found = {}
        for _, pair in pairs(comm.hierarchies or {}) do
          for level = 1, 2 do pair[level]:reset_counters() end
        end
        local out = body()
        for _, pair in pairs(comm.hierarchies) do
          for level = 1, 2 do found[level] = pair[level]:counters("sendrecv").bytes_sent end
        end
        return found, out
      end
      local forward, out = sent(function()
        return mosaic.attend(part(2), k, k, { strategy = options, comm = comm })
      end)
      local back = sent(function() out:sum():backward() end)
      return { forward, back }
    end)[1])
  end

  it("sends each byte between nodes once per node, and spreads it inside", function()
    local forward, back = counted(6, hierarchical(2, "ring"))
    assert.same({ 3 * OWN, 2 * OWN }, forward) -- inside: one step for each node's block; between: two steps
    -- K/V again and their gradients in f32: nothing is computed twice
    assert.same({ 2 * 3 * OWN, 2 * 2 * OWN }, back)
  end)

  it("predicts its bytes", function()
    bytes(hierarchical(2, "ring"), 5, SIZES, { mask = { causal = true } })
    bytes(hierarchical(2, "heads"), 6, SIZES, { mask = { prefix = 9 }, layout = "zigzag" })
    bytes(hierarchical(2, "local", "gather"), 6, SIZES, { mask = { causal = true } })
    bytes(hierarchical(2, "gather", "gather"), 5, SIZES, { layout = "striped", mask = { window = { 4, 0 } } })
    bytes(hierarchical(4, hierarchical(2, "ring"), { "ring", directions = 2 }), 8, SIZES, { wire = "int8" })
  end)

  it("has the next node's block on its way before the inner ring begins", function()
    mosaic.virtual(4, function(comm)
      local events, x = {}, mosaic.shard(fill { 2, 8, 4 }, { axis = 2, comm = comm })
      local ring = mosaic.strategy.get("ring").body.attend
      mosaic.attend(x, x, x, { comm = comm, strategy = hierarchical(2, function(inner, q, k, v, plan)
        for _, pair in pairs(comm.hierarchies) do
          events[#events + 1] = pair[2]:counters("sendrecv").calls -- started, complete or not
        end
        return ring(inner, q, k, v, plan)
      end) })
      assert.same({ 4, 4 }, events) -- K and V, out and in; nothing more at the last block
    end)
  end)

  it("takes an inner strategy that does not say what it sends", function()
    local function mine(...) return mosaic.strategy.get("ring").body.attend(...) end
    for _, between in ipairs { "ring", "gather" } do
      local found = mosaic.verify(hierarchical(2, mine, between), { rows = 9 },
        { ranks = 4, quiet = true, dtypes = { "f64" } })
      assert.is_true(found.ok)
    end
  end)

  it("refuses what is no hierarchy, on every rank", function()
    mosaic.virtual(4, function(comm)
      local x = fill { 2, 3, 4 }
      local function refuses(text, options)
        options[1] = "hierarchical"
        fails(text, function() mosaic.attend(x, x, x, { strategy = options, comm = comm }) end)
      end
      refuses("hierarchical: rank 3 is in no node", { nodes = { { 0, 1 }, { 2 } } })
      refuses("hierarchical: the size of a node must be an integer", { intra_node_size = 0 })
      refuses('hierarchical: inter_node_strategy "heads" is not one of ring, gather',
        hierarchical(2, "ring", "heads"))
      refuses("ring: directions must be 1 or 2, got 5", hierarchical(2, { "ring", directions = 5 }))
      refuses("ring: directions must be 1 or 2, got 5", hierarchical(2, "ring", { "ring", directions = 5 }))
      refuses("hierarchical: the inner strategy 'infini' is approximate", hierarchical(2, "infini"))
      refuses("hierarchical: the inner strategy 'composed' is approximate", hierarchical(2,
        { "composed", head_parallel = false, seq_parallel = { "compressed", ratio = 2 } }))
      refuses("hierarchical: between nodes 'ring' has no option 'pass'; 'ring' has 'directions'",
        hierarchical(2, "ring", { "ring", pass = "q" }))
      refuses("hierarchical: between nodes 'gather' has no option 'slices'",
        hierarchical(2, "ring", { "gather", slices = 2 }))
    end)
  end)
end)
