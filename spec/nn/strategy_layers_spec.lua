--- ComposedAttention and HierarchicalAttention equal MultiAxisAttention on one rank.
local mosaic = require "mosaic"
local close = require "spec.support.close"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"
local support = require "spec.support.layer"

local AXES = { "batch", "rows", "features", "embed" }

local function options_with(changes)
  local options = {
    embed_dim = 8, num_heads = 4, num_kv_heads = 2, axes = AXES, attention_axis = "rows", dtype = "f64",
    causal = true,
  }
  for name, value in pairs(changes or {}) do options[name] = value end
  return options
end

--- The layer with these options equals one rank: forward, gradients of the input and of all parameters.
local function same(name, ranks, changes, rows)
  support.same {
    ranks = ranks, inputs = { fill { 2, rows or 7, 3, 8 } },
    whole = function() return mosaic.MultiAxisAttention(options_with()) end,
    sharded = function(comm)
      local options = options_with(changes)
      options.comm, options.layout = comm, changes.layout or "zigzag"
      return mosaic[name](options)
    end,
    cut = function(comm)
      return function(x)
        return mosaic.shard(x, { axis = 2, comm = comm, layout = changes.layout or "zigzag" })
      end
    end,
    step = function(layer, leaves) return layer:forward(leaves[1], { mask = { prefix = 5 } }) end,
  }
end

describe("ComposedAttention", function()
  it("equals one rank on meshes of 1 to 6 ranks, whatever goes along the sequence", function()
    for _, shape in ipairs { { 1, 1 }, { 2, 1 }, { 2, 2 }, { 3, 2 } } do
      for _, inner in ipairs { "ring", "mesh2d" } do
        same("ComposedAttention", shape[1] * shape[2],
          { mesh_shape = shape, head_parallel = true, seq_parallel = inner })
      end
    end
    same("ComposedAttention", 6, { mesh_shape = { 2, 3 }, head_parallel = false, layout = "striped" })
    same("ComposedAttention", 4, { mesh_shape = { 2, 2 } }, 1)
  end)

  it("chooses its mesh, and the axis before the embedding", function()
    local layer = mosaic.ComposedAttention { embed_dim = 8, num_heads = 4, dtype = "f64" }
    local x = fill { 2, 5, 8 }
    close(mosaic.nn.Sequential { layer }(x)[2], support.truth(layer, x[2]:tolist()))
    same("ComposedAttention", 4, {})
  end)

  it("names the wrong value in its options", function()
    local function refuses(text, changes)
      fails(text, function() mosaic.ComposedAttention(options_with(changes)) end)
    end
    refuses("ComposedAttention: option 'head_parallel' must be of type boolean, got \"yes\"",
      { head_parallel = "yes" })
    refuses("(did you mean 'ring'?)", { seq_parallel = "rng" })
    refuses("ComposedAttention: unknown option 'mesh_shap', did you mean 'mesh_shape'?", { mesh_shap = {} })
    refuses("ComposedAttention: unknown option 'backend'", { backend = "ring" })
    refuses("ComposedAttention: causal must be true or false", { causal = 1 })
    mosaic.virtual(4, function(comm)
      local layer = mosaic.ComposedAttention(options_with { mesh_shape = { 3, 2 }, comm = comm })
      fails("composed: mesh_shape {3, 2} is not a mesh of 4 ranks; {2, 2} is",
        function() layer:forward(fill { 1, 2, 1, 8 }) end)
    end)
  end)
end)

describe("HierarchicalAttention", function()
  it("equals one rank on nodes of 1 to 3 ranks, whatever goes on inside and between", function()
    for _, inside in ipairs { "local", "ring", "gather", "heads" } do
      for _, between in ipairs { "ring", "gather" } do
        same("HierarchicalAttention", 4,
          { intra_node_size = 2, intra_node_strategy = inside, inter_node_strategy = between })
      end
    end
    for _, ranks in ipairs { 1, 2, 6 } do
      same("HierarchicalAttention", ranks, { intra_node_size = 3, layout = "striped" })
    end
    same("HierarchicalAttention", 4, { nodes = { { 0, 3, 1 }, { 2 } }, layout = "contiguous" }, 2)
  end)

  it("chooses the axis before the embedding", function()
    local layer = mosaic.HierarchicalAttention { embed_dim = 8, num_heads = 4, dtype = "f64" }
    local x = fill { 2, 5, 8 }
    close(mosaic.nn.Sequential { layer }(x)[2], support.truth(layer, x[2]:tolist()))
  end)

  it("names the wrong value in its options", function()
    local function refuses(text, changes)
      fails(text, function() mosaic.HierarchicalAttention(options_with(changes)) end)
    end
    refuses("(did you mean 'gather'?)", { intra_node_strategy = "gathr" })
    refuses("HierarchicalAttention: unknown option 'intra_size'", { intra_size = 2 })
    refuses("embed_dim 8 is not divisible by num_heads 3", { num_heads = 3 })
  end)
end)
