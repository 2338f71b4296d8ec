local mosaic = require "mosaic"
local fails = require "spec.support.fails"
local program = require "spec.support.program"
local report = require "mosaic.verify.report"

local function verify(strategy, sizes, options)
  options.quiet = true
  return mosaic.verify(strategy, sizes, options)
end

--- A ring that forgets the last rank's keys.
local function forgetful(comm, q, k, v, plan)
  local out, lse
  local keys, values = comm:all_gather(k, -2), comm:all_gather(v, -2)
  local first = 1
  for owner = 0, comm.size - 2 do
    local count = plan.keys:count(owner)
    local o, l = mosaic.sdpa(q, keys:narrow(-2, first, count), values:narrow(-2, first, count),
      plan:block(owner))
    if out then out, lse = mosaic.merge(out, lse, o, l) else out, lse = o, l end
    first = first + count
  end
  return out, lse
end

describe("verify", function()
  it("finds the ring exact, and its bytes those of the formula", function()
    local found = verify("ring", { rows = 101, heads = 2, head_size = 8 }, { ranks = 3 })
    assert.is_true(found.ok)
    assert.equal(10, #found.errors) -- out, lse, dq, dk, dv in two dtypes
    for _, rank in ipairs(found.ranks) do assert.equal(rank.predicted, rank.bytes) end
    assert.equal(2 * 2 * 8 * 8 * (34 + 33), found.ranks[3].bytes) -- K and V of the ranks 2 and 1, f64
  end)

  it("counts causal pairs: zigzag balances them, contiguous does not", function()
    local sizes = { rows = 512, heads = 1, head_size = 4 }
    local function imbalance(layout)
      local found = verify("ring", sizes, { ranks = 4, mask = "causal", layout = layout, dtypes = { "f32" } })
      local pairs_of_all = 0
      for _, rank in ipairs(found.ranks) do pairs_of_all = pairs_of_all + rank.work end
      assert.equal(512 * 513 / 2, pairs_of_all)
      assert.is_true(found.ok)
      return found.imbalance
    end
    assert.is_true(imbalance "zigzag" < 0.001)
    assert.is_true(imbalance "contiguous" > 0.7)
  end)

  it("holds no more than 1.3 x 8 n E b on a rank of a ring, whatever their number", function()
    for _, ranks in ipairs { 2, 4, 8 } do
      local found = verify("ring", { rows = 200 * ranks, heads = 2, head_size = 64 },
        { ranks = ranks, dtypes = { "f32" } })
      for _, rank in ipairs(found.ranks) do
        assert.is_true(rank.peak <= 1.3 * 8 * 200 * 2 * 64 * 4, ("%d bytes"):format(rank.peak))
      end
    end
  end)

  it("finds a strategy that forgets keys out of bounds", function()
    local found = verify(forgetful, { rows = 20 }, { ranks = 3, dtypes = { "f64" } })
    assert.is_false(found.ok)
    for _, entry in ipairs(found.errors) do assert.is_false(entry.ok, entry.name) end
  end)

  it("finds one rank wrong in f32, though the ranks agree, and says by how much", function()
    local one_rank = require "mosaic.strategy.local"
    local right = one_rank.attend
    finally(function() one_rank.attend = right end)
    for text, off in pairs { ["1.1e-03"] = 0.005, inf = math.huge } do
      one_rank.attend = function(comm, q, k, v, plan)
        local out, lse = right(comm, q, k, v, plan)
        return out, q.dtype == "f32" and lse + off or lse
      end
      local found = verify("gather", { rows = 20 }, { ranks = 3 })
      assert.is_false(found.ok)
      for _, entry in ipairs(found.errors) do
        assert.is_true(entry.error < 1e-6 and entry.bound < 1e-4, report.text(found))
        assert.is_true(entry.name ~= "lse" or entry.ok == (entry.dtype == "f64"))
      end
      local loud = ("OUT OF BOUNDS: ONE RANK ERRS BY %s, ceiling 1.4e-05"):format(text)
      assert.truthy(report.text(found):find(loud, 1, true), report.text(found))
    end
  end)

  it("takes grouped heads, other keys than queries, and every mask by name", function()
    local sizes = { rows = 37, key_rows = 23, heads = 4, kv_heads = 2, head_size = 5, batch = 2 }
    for _, mask in ipairs { "causal", "window=3:1", "prefix=9", "documents=3", "alibi", "keep", "bias" } do
      assert.is_true(verify("ring", sizes, { ranks = 3, mask = mask, dtypes = { "f64" } }).ok, mask)
    end
  end)

  it("compares what depends on the ranks with the same on one, and says how far it is from exact", function()
    local sizes = { rows = 47, heads = 2, head_size = 8 }
    local function found(strategy, options)
      options.ranks, options.dtypes = 3, { "f64" }
      return verify(strategy, sizes, options)
    end
    local compressed = { "compressed", ratio = 4, node_size = 2, global_tokens = 3 }
    for _, options in ipairs { {}, { mask = "causal" }, { mask = "prefix=20", layout = "striped" } } do
      local pooled = found(compressed, options)
      assert.is_true(pooled.ok)
      assert.is_true(pooled.off.rms > 0.05 and pooled.off.rms < 1 and pooled.off.max > 0.05)
    end
    assert.is_true(found(compressed, { wire = "int8" }).ok)
    local rounded = found("ring", { wire = "int8" })
    assert.is_true(rounded.ok and rounded.off.rms > 1e-4 and rounded.off.rms < 0.01)
    assert.is_nil(found("ring", {}).off)
    local nothing = verify("compressed", { rows = 0 }, { ranks = 2, dtypes = { "f64" } })
    assert.same({ max = 0, rms = 0 }, nothing.off)
  end)

  it("takes a layer: output and all gradients, summed over the ranks", function()
    local layer = mosaic.MultiAxisAttention {
      embed_dim = 8, num_heads = 2, attention_axis = 2, backend = "ring", dtype = "f64", causal = true,
    }
    local found = mosaic.verify(layer, { 2, 13, 3, 8 }, { ranks = 3, quiet = true })
    assert.is_true(found.ok)
    assert.equal(6, #found.errors) -- y, dx, two weights, two biases
    layer.backend = "local" -- attends to its own shard only: not the same layer
    found = mosaic.verify(layer, { 2, 13, 3, 8 }, { ranks = 3, quiet = true })
    assert.is_false(found.ok)
  end)

  it("takes a layer whose strategy needs its mesh of ranks", function()
    local layer = mosaic.ComposedAttention {
      embed_dim = 8, num_heads = 2, attention_axis = 2, mesh_shape = { 2, 2 }, dtype = "f64",
    }
    assert.is_true(mosaic.verify(layer, { 2, 13, 8 }, { ranks = 4, quiet = true }).ok)
  end)

  it("takes functions in masks, and dropout", function()
    local mask = {
      keep = function(_, h, i, j) return (i + j) % (h + 1) == 0 or i == j end,
      score = function(s, _, h) return s / h end,
    }
    local sizes = { rows = 21, heads = 2, head_size = 4 }
    assert.is_true(verify("mesh2d", sizes, { ranks = 3, mask = mask, dtypes = { "f64" } }).ok)
    local options = { ranks = 2, dropout = { p = 0.3, seed = 5 }, dtypes = { "f64" } }
    assert.is_true(verify("heads", sizes, options).ok)
  end)

  it("refuses sizes, masks and options that it does not know", function()
    fails("verify: sizes: unknown option 'row', did you mean 'rows'", function()
      mosaic.verify("ring", { row = 5 })
    end)
    fails("verify: mask \"casual\" is not one of", function()
      mosaic.verify("ring", {}, { mask = "casual" })
    end)
    fails("verify: 3 heads are no multiple of 2 kv_heads", function()
      mosaic.verify("ring", { heads = 3, kv_heads = 2 })
    end)
  end)
end)

describe("mosaic-lua verify", function()
  it("prints what it found and ends with status 0", function()
    local result = program "verify --rows 50 --ranks=3 --mask causal"
    assert.equal(0, result.status)
    assert.truthy(result.out:find("ring on 3 ranks: 50 x 50 rows (zigzag), mask causal", 1, true))
    assert.truthy(result.out:find("within bounds", 1, true))
  end)

  it("takes all strategies under any mask, each with one that it can do", function()
    for _, options in ipairs { "", "--mask window=9:2,alibi --layout striped" } do
      local result = program("verify --strategy all --ranks 3 --rows 40 --head-size 8 " .. options)
      assert.equal(0, result.status, result.out .. result.err)
      for _, name in ipairs(mosaic.strategy.names()) do
        local ranks = name == "local" and 1 or 3
        assert.truthy(result.out:find(("%s on %d ranks: 40 x 40 rows"):format(name, ranks), 1, true), name)
      end
      local _, fine = result.out:gsub("  within bounds", "")
      assert.equal(#mosaic.strategy.names(), fine)
    end
  end)

  it("refuses what it does not know with status 2, in one line", function()
    for arguments, says in pairs {
      ["--row 50"] = "unknown option '--row', did you mean '--rows'?",
      ["--strategy rnig"] = 'strategy "rnig" is not one of ',
      ["--strategy all --mask casual"] = 'mask "casual" is not one of ',
      ["--ranks 0"] = "--ranks must be an integer of at least 1, got 0",
      [ [[--strategy '{"mesh2d", mesh_shape = {3, 3}}']] ] = "mesh_shape {3, 3} is not a mesh of 4 ranks",
    } do
      local result = program("verify " .. arguments)
      assert.same({ 2, "" }, { result.status, result.out })
      assert.truthy(result.err:find(says, 1, true), result.err)
      assert.matches("^mosaic%-lua verify: [^\n]*\nTry 'mosaic%-lua verify %-%-help'%.\n$", result.err)
    end
  end)
end)
