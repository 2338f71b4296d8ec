local mosaic = require "mosaic"
local bytes = require "spec.support.bytes"
local close = require "spec.support.close"
local contract = require "spec.support.contract"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"
local odd_masks = require "spec.support.odd_masks"
local work = require "mosaic.work"

describe("mesh2d", function()
  for name, shape in pairs { wide = { 2, 4 }, high = { 3, 2 }, ["one row"] = { 1, 3 } } do
    describe(name, function()
      local ranks = { shape[1] * shape[2] }
      contract(it, { "mesh2d", mesh_shape = shape }, { ranks = ranks, lengths = { 0, 5, 13 } })
    end)
  end
  odd_masks(it, "mesh2d", { ranks = { 2, 4, 6 } })

  it("takes a bias that wants a gradient on some ranks only", function()
    local whole_bias, x = fill({ 2, 8, 8 }, { seed = 2 }), fill { 2, 8, 3 }
    local function gradients(attend, rows, bias, wants, options)
      rows, bias = rows:detach():requires_grad_(), bias:detach():requires_grad_(wants)
      options.mask = { bias = bias }
      attend(rows, rows, rows, options):square():sum():backward()
      return rows.grad, bias.grad
    end
    local whole, of_bias = gradients(mosaic.sdpa, x, whole_bias, true, {})
    local inside = { "hierarchical", intra_node_size = 2, intra_node_strategy = "mesh2d" }
    for _, strategy in ipairs { "mesh2d", "rshard", { "composed", seq_parallel = "mesh2d" }, inside } do
      mosaic.virtual(4, function(comm)
        local function cut(t) return mosaic.shard(t, { axis = 2, comm = comm, layout = "contiguous" }) end
        local of_rows, own = gradients(mosaic.attend, cut(x), cut(whole_bias), comm.rank == 0,
          { strategy = strategy, comm = comm, layout = "contiguous" })
        close(of_rows, cut(whole))
        if comm.rank == 0 then close(own, cut(of_bias)) else assert.is_nil(own) end
      end)
    end
  end)

  it("sends n E b (c-1) of queries, as much of results and lse, 2 n Hkv d b (a-1) of keys", function()
    local batch, heads, kv_heads, rows, d = 2, 4, 2, 24, 4
    for _, shape in ipairs { { 1, 1 }, { 1, 6 }, { 2, 3 }, { 3, 2 }, { 4, 1 } } do
      local a, c = unpack(shape)
      local n = batch * rows / (a * c)
      local expected = n * heads * (2 * d * 4 + 8) * (c - 1) + 2 * n * kv_heads * d * 4 * (a - 1)
      local strategy = { "mesh2d", mesh_shape = shape }
      for _, sent in ipairs(bytes(strategy, a * c, { batch, heads, kv_heads, rows, d })) do
        assert.equal(expected, sent)
      end
    end
  end)

  it("takes the most square mesh, turned so that less is sent", function()
    local function sent(ranks, heads, kv_heads)
      return bytes("mesh2d", ranks, { 1, heads, kv_heads, 12, 4 })[1]
    end
    -- 6 ranks, n 2, d 4, f32. Queries and results are 40 bytes a head, keys and values 32
    assert.equal(2 * 4 * 40 * 1 + 2 * 4 * 32 * 2, sent(6, 4, 4)) -- 3 x 2
    assert.equal(2 * 4 * 40 * 1 + 2 * 1 * 32 * 2, sent(6, 4, 1))
    -- a prime number of ranks: one row or one column
    assert.equal(4 * 2 * 32 * 2, sent(3, 2, 2))
  end)

  it("predicts its bytes, whatever travels", function()
    bytes("mesh2d", 6, { 2, 4, 2, 13, 4 }, { layout = "zigzag", dtype = "bf16", wire = "fp8", key_rows = 7 })
    bytes("mesh2d", 4, { 2, 2, 2, 9, 4 }, { mask = { prefix = 3 } })
    bytes("mesh2d", 4, { 2, 2, 1, 8, 4 }, { mask = { bias = mosaic.zeros { 2, 2, 8 } } })
    bytes("mesh2d", 4, { 2, 2, 1, 9, 4 }, { mask = { keep = mosaic.ones { 9, dtype = "u8" } } })
  end)

  it("computes no pair twice, and as many on every rank where shards are balanced", function()
    for _, layout in ipairs { "zigzag", "striped", "contiguous" } do
      for _, shape in ipairs { { 2, 3 }, { 3, 2 }, { 1, 6 } } do
        local rows, total, most = 240, 0, 0
        local pairs_of = mosaic.virtual(6, function(comm)
          local x = mosaic.shard(fill { 1, rows, 4 }, { axis = 2, comm = comm, layout = layout })
          work.reset()
          mosaic.attend(x, x, x, { strategy = { "mesh2d", mesh_shape = shape }, comm = comm, layout = layout,
            mask = { causal = true } })
          return work.read().forward
        end)
        for _, count in ipairs(pairs_of) do total, most = total + count, math.max(most, count) end
        assert.equal(rows * (rows + 1) / 2, total)
        if layout ~= "contiguous" then assert.is_true(most <= 1.03 * total / 6, layout .. most) end
      end
    end
  end)

  it("refuses a mesh that has another number of ranks", function()
    mosaic.virtual(4, function(comm)
      local x = fill { 1, 4, 4 }
      local function refuses(text, shape)
        fails(text, function()
          mosaic.attend(x, x, x, { strategy = { "mesh2d", mesh_shape = shape }, comm = comm })
        end)
        assert.is_nil(comm.grids)
      end
      refuses("mesh2d: mesh_shape {2, 3} is not a mesh of 4 ranks; {2, 2} is", { 2, 3 })
      refuses("mesh2d: mesh_shape {1, 2, 2} is not a mesh of 4 ranks; {2, 2} is", { 1, 2, 2 })
      refuses("mesh_shape[1] must be an integer of at least 1, got 0", { 0, 4 })
      refuses("mesh2d: mesh_shape must be a table, got 4", 4)
    end)
  end)
end)
