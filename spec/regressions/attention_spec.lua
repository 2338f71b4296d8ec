--- Mistakes that sharded attention made elsewhere, each by name: none may come in here. Values and gradients
-- are compared with plain Lua doubles (spec/support/contract.lua); ranks_spec.lua has the mistakes around it.
local mosaic = require "mosaic"
local cases = require "spec.support.contract_cases"
local close = require "spec.support.close"
local contract = require "spec.support.contract"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"

--- What gives the one-rank answer on ranks, with 4 heads on up to 4 of them.
local SHARDED = { "ring", "gather", "mesh2d", "heads", "switch", "composed", "hierarchical", "rshard" }

--- Declares the contract for few cases. options: as there, and masks as a list of names.
local function exact(strategy, options)
  local full = {
    dtypes = { "f64" }, layouts = { "contiguous" }, heads = { 4, 2 }, lengths = { 16 }, masks = {},
  }
  for name, value in pairs(options) do
    if name ~= "masks" then full[name] = value end
  end
  for name, value in pairs(options.masks) do
    if type(name) == "number" then name, value = value, cases.MASKS[value] end
    full.masks[name] = value
  end
  contract(it, strategy, full)
end

describe("mesh2d gathering over the wrong group:", function()
  -- a square mesh, even shards: every shape fits whichever group gathers
  exact({ "mesh2d", mesh_shape = { 2, 2 } }, { ranks = { 4 }, masks = { "none", "causal", "bias" } })
end)

describe("composed attention over the group that holds other heads:", function()
  for axis = 1, 2 do
    for _, inner in ipairs { "ring", "mesh2d" } do
      exact({ "composed", mesh_shape = { 2, 2 }, head_axis = axis, seq_parallel = inner },
        { ranks = { 4 }, lengths = { 16, 13 }, masks = { "none", "alibi", "causal" } })
    end
  end
end)

describe("a leader's output instead of each rank's own:", function()
  for _, inner in ipairs { "local", "ring", "heads" } do
    for _, between in ipairs { "ring", "gather" } do
      local strategy = {
        "hierarchical", intra_node_size = 2, intra_node_strategy = inner, inter_node_strategy = between,
      }
      exact(strategy, { ranks = { 4 }, masks = { "none", "causal" } })
    end
  end
end)

describe("the future seen by a causal ring over contiguous shards:", function()
  exact("ring", { ranks = { 4 }, masks = { "causal" }, lengths = { 16, 14 } })

  it("later keys and values change nothing", function()
    local rows, seen = 16, 6
    local x = fill { 2, rows, 4 }
    local changed = mosaic.cat({ x:narrow(2, 1, seen), fill({ 2, rows - seen, 4 }, { seed = 9 }) * 100 }, 2)
    for _, layout in ipairs { "contiguous", "zigzag", "striped" } do
      mosaic.virtual(4, function(comm)
        local how = { axis = 2, comm = comm, layout = layout }
        local function out_of(keys)
          local q, k = mosaic.shard(x, how), mosaic.shard(keys, how)
          local out = mosaic.attend(q, k, k, { comm = comm, layout = layout, mask = { causal = true } })
          return mosaic.unshard(out, how):narrow(2, 1, seen)
        end
        assert.same(out_of(x):tolist(), out_of(changed):tolist())
      end)
    end
  end)
end)

describe("a mask or a length dropped without a word:", function()
  --- keep (batch, 1, queries, keys): the two batch entries have 11 and 5 rows, the others are padding.
  local function lengths(rows, _, key_rows)
    local marks = {}
    for at = 1, 2 * key_rows do
      marks[at] = (at - 1) % key_rows + 1 <= (at <= key_rows and 11 or 5) and 1 or 0
    end
    local keep = mosaic.tensor(marks, { dtype = "u8" }):view { 2, 1, 1, key_rows }
    return { keep = keep:expand(2, 1, rows, key_rows):contiguous() }
  end

  for _, strategy in ipairs(SHARDED) do
    exact(strategy, { ranks = { 4 }, layouts = { "striped" }, lengths = { 14 },
      masks = { lengths = lengths, "window", "documents", "alibi" } })
  end

  it("what no strategy knows is refused by all of them", function()
    mosaic.virtual(2, function(comm)
      local x = fill { 2, 2, 4, 3 }
      for _, strategy in ipairs(SHARDED) do
        fails("unknown option 'lengths'", function()
          mosaic.attend(x, x, x, { strategy = strategy, comm = comm, mask = { lengths = { 3, 2 } } })
        end)
      end
    end)
  end)
end)

describe("floor division that drops the tail:", function()
  for _, strategy in ipairs(SHARDED) do
    -- 4 ranks divide neither 13 or 3 rows nor 5 heads
    exact(strategy, { ranks = { 4 }, heads = { 5, 5 }, lengths = { 3, 13 }, masks = { "none" },
      layouts = { "contiguous", "zigzag" } })
  end

  it("all rows belong to somebody", function()
    for rows = 0, 17 do
      mosaic.virtual(5, function(comm)
        local x = fill { rows, 1 }
        for _, layout in ipairs { "contiguous", "zigzag", "striped" } do
          local how = { axis = 1, comm = comm, layout = layout }
          close(mosaic.unshard(mosaic.shard(x, how), how), x)
        end
      end)
    end
  end)
end)

describe("rows that see nothing attending to everything:", function()
  --- Rows 1, 5, 9, ... see no key.
  local function hidden(rows, _, key_rows)
    local marks = {}
    for at = 0, rows * key_rows - 1 do marks[at + 1] = math.floor(at / key_rows) % 4 > 0 and 1 or 0 end
    return { keep = mosaic.tensor(marks, { dtype = "u8" }):view { rows, key_rows } }
  end
  local function minus_infinity(...)
    local keep = hidden(...).keep
    return { bias = mosaic.zeros { dtype = "f64", unpack(keep.shape) }:masked_fill(keep:eq(0), -math.huge) }
  end
  local masks = { ["keep without any"] = hidden, ["a bias of minus infinity"] = minus_infinity }

  exact("local", { ranks = { 1 }, masks = masks, dtypes = { "f32" } }) -- besides f64
  for _, strategy in ipairs(SHARDED) do
    exact(strategy, { ranks = { 4 }, masks = masks, dtypes = { "f32" } })
  end

  it("they give 0, lse minus infinity, and no gradient", function()
    mosaic.virtual(3, function(comm)
      local x = fill { 2, 4, 3 }:requires_grad_()
      local out, lse = mosaic.attend(x, x, x, { comm = comm, mask = { prefix = 0 } })
      out:sum():backward()
      assert.same({ 0, 0, -math.huge, -math.huge },
        { out:min():item(), out:max():item(), lse:min():item(), lse:max():item() })
      close(x.grad, mosaic.zeros { dtype = "f64", 2, 4, 3 })
    end)
  end)
end)

describe("test rows used as keys:", function()
  for _, strategy in ipairs(SHARDED) do
    exact(strategy, { ranks = { 4 }, layouts = { "striped" }, masks = {
      ["of 6 train rows"] = function() return { prefix = 6 } end,
    } })
  end

  it("a test row changes its own answer only", function()
    local rows, train = 11, 6
    local x = fill { rows, 2, 8 }
    mosaic.virtual(3, function(comm)
      mosaic.manual_seed(1)
      local layer = mosaic.MultiAxisAttention {
        embed_dim = 8, num_heads = 2, attention_axis = 1, backend = "ring", comm = comm, dtype = "f64",
      }
      local how = { axis = 1, comm = comm }
      local function answer(table)
        local out = layer:forward(mosaic.shard(table, how), { mask = { prefix = train } })
        return mosaic.unshard(out, how):detach()
      end
      local other = x:clone()
      other:narrow(1, 9, 1):fill_(5)
      local before, after = answer(x), answer(other)
      for row = 1, rows do
        assert.equal(row ~= 9, (before[row] - after[row]):abs():max():item() == 0, "row " .. row)
      end
    end)
  end)
end)
