--- CrossAxisAttention: the truth is attention of one list of rows to another, in plain doubles.
local mosaic = require "mosaic"
local close = require "spec.support.close"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"
local support = require "spec.support.layer"

local AXES = { "batch", "rows", "features", "embed" }

local function options_with(changes)
  local options = {
    embed_dim = 6, num_heads = 2, axes = AXES, q_axis = "rows", kv_axis = "features", dtype = "f64",
  }
  for name, value in pairs(changes or {}) do options[name] = value or nil end
  return options
end

local function new_layer(changes)
  return support.filled(mosaic.CrossAxisAttention(options_with(changes)))
end

describe("CrossAxisAttention", function()
  local x = fill { 2, 5, 3, 6 }

  it("lets each position along q_axis attend over its own positions along kv_axis", function()
    local layer = new_layer { causal = true }
    local y = layer:forward(x)
    for b = 1, 2 do
      for i = 1, 5 do close(y[b][i], support.truth(layer, x[b][i]:tolist(), { causal = true })) end
    end
    local columns = new_layer { q_axis = "features", kv_axis = "rows" }
    close(columns:forward(x)[2]:select(2, 3), support.truth(columns, x[2]:select(2, 3):tolist()))
  end)

  it("lets q_axis of x attend to kv_axis of a context, what both have besides being batch", function()
    local layer, context = new_layer {}, fill({ 2, 3, 4, 6 }, { seed = 3 }) -- (batch, features of x, keys, E)
    for _, mask in ipairs { {}, { causal = true }, { window = { 1, 2 } } } do
      local y = layer:forward(x, context, { mask = mask })
      for b = 1, 2 do
        for f = 1, 3 do
          close(y[b]:select(2, f),
            support.truth(layer, x[b]:select(2, f):tolist(), mask, context[b][f]:tolist()))
        end
      end
    end
  end)

  it("takes a context with axes of its own, in another place", function()
    local layer = new_layer { context_axes = { "keys", "batch", "embed" }, kv_axis = "keys",
      axes = { "batch", "rows", "embed" } }
    local own, context = fill { 2, 5, 6 }, fill({ 4, 2, 6 }, { seed = 3 })
    local y = layer:forward(own, context)
    for b = 1, 2 do
      close(y[b], support.truth(layer, own[b]:tolist(), {}, context:select(2, b):tolist()))
    end
    fails("kv_axis is one of context_axes {keys, batch, embed}: forward needs a context",
      function() layer:forward(own) end)
  end)

  --- One rank and shards give the same; axes: along which each input, and the result, is sharded.
  local function same(ranks, inputs, axes, changes, mask)
    local function options_of(comm)
      local options = options_with(changes)
      if not comm then options.backend = nil elseif options.backend ~= "local" then options.comm = comm end
      return options
    end
    support.same {
      ranks = ranks, inputs = inputs,
      whole = function() return mosaic.CrossAxisAttention(options_of()) end,
      sharded = function(comm) return mosaic.CrossAxisAttention(options_of(comm)) end,
      cut = function(comm)
        return function(t, i)
          return mosaic.shard(t, { axis = axes[i or 1], comm = comm, layout = changes.layout })
        end
      end,
      step = function(layer, leaves) return layer:forward(leaves[1], leaves[2], { mask = mask }) end,
    }
  end

  for _, layout in ipairs { "contiguous", "zigzag", "striped" } do
    it("equals one rank, sharded along kv_axis, or both axes with a context: " .. layout, function()
      for _, ranks in ipairs { 1, 2, 4, 6 } do
        same(ranks, { x }, { 3 }, { backend = "ring", layout = layout, causal = true })
        same(ranks, { x, fill({ 2, 3, 7, 6 }, { seed = 3 }) }, { 2, 3 },
          { backend = "ring", layout = layout }, { causal = true })
      end
    end)
  end

  it("equals one rank under other strategies", function()
    for _, backend in ipairs { "gather", "mesh2d", "heads", { "switch", axis = -4 } } do
      same(4, { x }, { 3 }, { backend = backend })
      same(3, { x, fill({ 2, 3, 7, 6 }, { seed = 3 }) }, { 2, 3 }, { backend = backend }, { causal = true })
    end
  end)

  it("needs nothing where q_axis alone is sharded, and takes both axes over a mesh", function()
    same(3, { x }, { 2 }, { backend = "local" })
    local expected = new_layer { causal = true }:forward(x)
    mosaic.virtual(6, function(comm)
      local row, column = comm:grid(3, 2)
      local layer = new_layer { backend = "ring", comm = row, causal = true }
      local function cut(t)
        return mosaic.shard(mosaic.shard(t, { axis = 2, comm = column }), { axis = 3, comm = row })
      end
      close(layer:forward(cut(x)), cut(expected))
    end)
  end)

  it("works in a Sequential", function()
    local layer = new_layer {}
    close(mosaic.nn.Sequential { layer, layer }(x), layer(layer(x)))
  end)

  it("names the wrong value in its options and inputs", function()
    local function refuses(text, changes)
      fails(text, function() mosaic.CrossAxisAttention(options_with(changes)) end)
    end
    refuses("CrossAxisAttention: kv_axis must be an integer, got nil", { kv_axis = false })
    refuses("did you mean 'rows'?", { q_axis = "row" })
    refuses("(did you mean 'ring'?)", { backend = "rinf" })
    refuses("unknown option 'switch_axis'", { switch_axis = 2 })
    local layer, same_axis = new_layer {}, new_layer { kv_axis = "rows" }
    fails("q_axis and kv_axis are both axis 2 of f64 [2,5,3,6]", function() same_axis:forward(x) end)
    fails("x f64 [2,5,3,6] without axis 2 and context f64 [2,5,3,6] without axis 3 differ",
      function() layer:forward(x, x) end)
    fails("unknown option 'masks'", function() layer:forward(x, { masks = {} }) end)
  end)
end)
