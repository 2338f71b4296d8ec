local close = require "spec.support.close"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"
local filled = require("spec.support.layer").filled
local infini = require "spec.support.infini"
local mosaic = require "mosaic"

local AXES = { "batch", "rows", "features", "embed" }

local function new_layer(options)
  local settings = {
    embed_dim = 6, num_heads = 2, num_kv_heads = 1, axes = AXES, attention_axis = "rows", segment = 4,
    update = "delta", dtype = "f64",
  }
  for name, value in pairs(options or {}) do settings[name] = value end
  return filled(mosaic.InfiniAttention(settings))
end

--- (n, heads d) as (heads, n, d).
local function heads_of(x, heads)
  return x:view(x:size(1), heads, 3):permute(2, 1, 3)
end

--- The layer on one sequence x (n, embed_dim), from the sequential definition.
local function truth(layer, x)
  local packed = mosaic.linear(x, layer.in_proj_weight, layer.in_proj_bias):detach()
  local q, k, v = unpack(packed:split({ 6, 3, 3 }, 2))
  local out = infini { q = heads_of(q, 2), k = heads_of(k, 1), v = heads_of(v, 1), beta = layer.beta,
    dout = mosaic.zeros { 2, x:size(1), 3 }, segment = 4, update = "delta" }.out
  out = mosaic.tensor(out, { dtype = "f64" }):view(2, x:size(1), 3):permute(2, 1, 3):reshape(x:size(1), 6)
  return layer.out_proj(out)
end

describe("InfiniAttention", function()
  local x = fill { 2, 11, 2, 6 }

  it("attends along the named axis, every other one being batch", function()
    local layer = new_layer()
    local y = layer(x)
    for b = 1, 2 do
      for f = 1, 2 do close(y:select(3, f)[b], truth(layer, x:select(3, f)[b])) end
    end
  end)

  it("owns beta, which starts at 0, and differentiates it and everything else", function()
    assert.same({ 0, 0 }, mosaic.InfiniAttention {
      embed_dim = 6, num_heads = 2, attention_axis = 1, segment = 4,
    }.beta:tolist())
    local layer = new_layer()
    local inputs, named = { fill({ 1, 6, 1, 6 }, { requires_grad = true }), unpack(layer:parameters()) }, {}
    for name in layer:named_parameters() do named[#named + 1] = name end
    assert.same({ "beta", "in_proj_bias", "in_proj_weight", "out_proj.bias", "out_proj.weight" }, named)
    assert.is_true(mosaic.gradcheck(function(t) return (layer:forward(t)) end, inputs, { tolerance = 2e-6 }))
  end)

  it("gives the same sharded by rows, in a Sequential, forward and gradients", function()
    local dy = fill({ 2, 11, 2, 6 }, { seed = 9 })
    local reference = mosaic.nn.Sequential { new_layer(), new_layer { update = "linear", segment = 3 } }
    local input = x:clone():requires_grad_()
    local expected = reference(input)
    expected:backward(dy)
    for ranks = 2, 4 do
      local results = mosaic.virtual(ranks, function(comm)
        local model = mosaic.nn.Sequential {
          new_layer { comm = comm }, new_layer { comm = comm, update = "linear", segment = 3 },
        }
        local options = { axis = 2, comm = comm, layout = "contiguous" }
        local shard = mosaic.shard(x, options):requires_grad_()
        local y = model(shard)
        y:backward(mosaic.shard(dy, options))
        mosaic.sync_gradients(model, { comm = comm })
        return { mosaic.unshard(y, options), mosaic.unshard(shard.grad, options), model:parameters() }
      end)
      for _, result in ipairs(results) do
        close(result[1], expected)
        close(result[2], input.grad)
        for i, p in ipairs(reference:parameters()) do close(result[3][i].grad, p.grad) end
      end
    end
  end)

  it("streams: pieces of any length give what the whole gives", function()
    local layer, parts, state, first = new_layer(), {}, {}, 1
    for i, rows in ipairs { 4, 1, 2, 4 } do
      parts[i], state = layer:forward(x:narrow(2, first, rows), { state = state })
      first = first + rows
    end
    close(mosaic.cat(parts, 2), layer(x))
    assert.equal(11, state.rows)
  end)

  it("names the wrong value in its options", function()
    local function refuses(text, changes)
      local settings = { embed_dim = 6, num_heads = 2, axes = AXES, attention_axis = "rows", segment = 4 }
      for name, value in pairs(changes) do settings[name] = value end
      fails(text, function() mosaic.InfiniAttention(settings) end)
    end
    refuses("InfiniAttention: segment must be an integer of at least 1, got 0", { segment = 0 })
    refuses("InfiniAttention: update \"sum\" is not one of linear, delta", { update = "sum" })
    refuses("InfiniAttention: embed_dim 6 is not divisible by num_heads 4", { num_heads = 4 })
    refuses("InfiniAttention: unknown option 'segments', did you mean 'segment'?", { segments = 4 })
    refuses("InfiniAttention: scale must be a finite number", { scale = 0 / 0 })
    local layer = new_layer()
    fails("InfiniAttention: the last axis of f64 [2,11,2,5] is not embed_dim 6", function()
      layer(x:narrow(4, 1, 5))
    end)
    fails("InfiniAttention: forward: unknown option 'mask'", function() layer:forward(x, { mask = {} }) end)
  end)
end)
