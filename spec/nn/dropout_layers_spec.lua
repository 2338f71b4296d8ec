--- The attention layers' dropout: the truth is dense attention whose pairs are dropped one by one.
local mosaic = require "mosaic"
local close = require "spec.support.close"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"
local support = require "spec.support.layer"

local P, SEED = 0.4, 7

local function options_with(changes)
  local options = {
    embed_dim = 8, num_heads = 4, num_kv_heads = 2, axes = { "batch", "rows", "features", "embed" },
    dtype = "f64", causal = true, dropout = P,
  }
  for name, value in pairs(changes) do options[name] = value end
  return options
end

local function along(changes)
  changes.attention_axis = "rows"
  return options_with(changes)
end

--- The seed that the next call will take.
local function next_seed()
  local generator = mosaic.manual_seed(SEED)
  local seed = mosaic.randint(0, 2 ^ 53 - 1, { 1 }):item()
  generator:seek(0)
  return seed
end

local function seeded(layer, x, options)
  mosaic.manual_seed(SEED)
  return layer:forward(x, options)
end

--- One rank and shards give the same: forward, gradients of the input and of all parameters.
local function same(ranks, whole, sharded, cut)
  support.same {
    ranks = ranks, inputs = { fill { 2, 7, 3, 8 } }, whole = whole, sharded = sharded,
    cut = cut or function(comm, layer)
      return function(x) return mosaic.shard(x, { axis = 2, comm = comm, layout = layer.layout }) end
    end,
    step = function(layer, leaves) return seeded(layer, leaves[1]) end,
  }
end

local function whole() return mosaic.MultiAxisAttention(along {}) end

describe("dropout of an attention layer", function()
  it("drops the probabilities that its seed says", function()
    local layer = support.filled(mosaic.MultiAxisAttention(along { num_kv_heads = 4 }))
    local x, dropout = fill { 1, 6, 1, 8 }, { p = P, seed = next_seed() }
    local rows = x:reshape(6, 8):tolist()
    close(layer:forward(x):reshape(6, 8), support.truth(layer, rows, { causal = true }, nil, dropout))
    close(layer:eval():forward(x):reshape(6, 8), support.truth(layer, rows, { causal = true }))
  end)

  it("is another one at every call, and none in eval()", function()
    local layer, x = support.filled(whole()), fill { 2, 7, 3, 8 }
    local first, second = seeded(layer, x), layer:forward(x)
    assert.is_true((first - second):abs():max():item() > 1e-3)
    assert.same(first:flat(), seeded(layer, x):flat())
    local plain = support.filled(mosaic.MultiAxisAttention(along { dropout = 0 }))
    local generator = mosaic.manual_seed(SEED)
    assert.same(plain:forward(x):flat(), layer:eval():forward(x):flat())
    assert.equal(0, generator:position())
    assert.is_true((layer:train():forward(x) - plain:forward(x)):abs():max():item() > 1e-3)
  end)

  it("is the same on one rank and on shards", function()
    for ranks = 1, 3 do
      for _, layout in ipairs { "contiguous", "zigzag" } do
        for _, backend in ipairs { "ring", "gather" } do
          same(ranks, whole, function(comm)
            return mosaic.MultiAxisAttention(along { backend = backend, comm = comm, layout = layout })
          end)
        end
      end
      same(ranks, whole, function(comm)
        return mosaic.MultiAxisAttention(along { backend = "switch", switch_axis = "features", comm = comm,
          layout = "contiguous" })
      end)
      same(ranks, whole, function(comm)
        return mosaic.ComposedAttention(along { comm = comm, layout = "contiguous" })
      end)
      same(ranks, whole, function(comm)
        return mosaic.HierarchicalAttention(along { comm = comm, layout = "striped", intra_node_size = 2 })
      end)
    end
  end)

  it("... across axes and over two of them", function()
    for ranks = 1, 3 do
      local function cross(backend, comm)
        return mosaic.CrossAxisAttention(options_with { q_axis = "features", kv_axis = "rows",
          backend = backend, comm = comm, layout = "contiguous" })
      end
      same(ranks, function() return cross "local" end, function(comm) return cross("ring", comm) end)
      local function cells(shape, comm)
        return mosaic.MultiAxisAttention2D(options_with { axis1 = "rows", axis2 = "features",
          mesh_shape = shape, comm = comm, backend = not shape and "local" or nil })
      end
      same(ranks, cells, function(comm) return cells({ ranks, 1 }, comm) end, function(_, layer)
        return function(x) return layer:shard(x) end
      end)
    end
  end)

  it("repeats under checkpoint", function()
    local layer = support.filled(whole())
    local function gradients(call)
      layer:zero_grad()
      mosaic.manual_seed(SEED)
      local x = fill({ 2, 7, 3, 8 }):requires_grad_()
      call(x):backward(fill({ 2, 7, 3, 8 }, { seed = 9 }))
      return { x.grad, layer.in_proj_weight.grad:clone() }
    end
    local plain = gradients(function(x) return layer:forward(x) end)
    local again = gradients(function(x)
      return mosaic.checkpoint(function(t) return layer:forward(t) end, x)
    end)
    for i, g in ipairs(plain) do close(again[i], g) end
  end)

  it("fails on every rank where the ranks' generators differ", function()
    for _, changes in ipairs { { backend = "ring" }, { backend = "switch", switch_axis = "features" } } do
      mosaic.virtual(2, function(comm)
        changes.comm = comm
        local layer = mosaic.MultiAxisAttention(along(changes))
        mosaic.manual_seed(comm.rank)
        fails("ranks disagree on dropout", function() layer:forward(fill { 2, 4, 3, 8 }) end)
      end)
    end
  end)

  it("names what it cannot be", function()
    fails("MultiAxisAttention: dropout must be at least 0 and below 1, got 1", function()
      mosaic.MultiAxisAttention(along { dropout = 1 })
    end)
    fails("HierarchicalAttention: option 'dropout' must be of type number, got \"0.1\"", function()
      mosaic.HierarchicalAttention(along { dropout = "0.1" })
    end)
    local layer = mosaic.MultiAxisAttention(along {})
    fails("MultiAxisAttention: forward: a cache knows no dropout; call eval() first", function()
      layer:forward(fill { 2, 1, 3, 8 }, { cache = layer:kv_cache { batch = 6, comm = mosaic.comm.alone() } })
    end)
    mosaic.virtual(2, function(comm)
      local late = mosaic.MultiAxisAttention(along { axes = { "rows", "batch", "features", "embed" },
        backend = "switch", switch_axis = "features", comm = comm })
      fails("dropout needs batch entries that follow each other: switch_axis 3", function()
        late:forward(fill { 4, 2, 3, 8 })
      end)
    end)
  end)
end)
