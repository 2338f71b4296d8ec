local mosaic = require "mosaic"
local close = require "spec.support.close"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"
local support = require "spec.support.layer"

local filled, truth = support.filled, support.truth

local AXES = { "batch", "rows", "features", "embed" }

local function new_layer(options)
  local settings = { embed_dim = 6, num_heads = 2, axes = AXES, attention_axis = "rows", dtype = "f64" }
  for name, value in pairs(options or {}) do settings[name] = value end
  return filled(mosaic.MultiAxisAttention(settings))
end

describe("MultiAxisAttention", function()
  local x = fill { 2, 5, 3, 6 }

  it("attends along the named axis, every other one being batch", function()
    local layer = new_layer()
    local y = layer:forward(x, { mask = { prefix = 3 } })
    for b = 1, 2 do
      for f = 1, 3 do
        close(y:select(3, f):select(1, b), truth(layer, x:select(3, f):select(1, b):tolist(), { prefix = 3 }))
      end
    end
  end)

  it("takes the axis as a number, from either end, in 2 to 5 dims", function()
    local by_name, by_number = new_layer(), new_layer { attention_axis = -3 }
    close(by_number:forward(x), by_name:forward(x))
    local features = new_layer { attention_axis = 3, axes = false }
    close(features:forward(x)[2][4], truth(features, x[2][4]:tolist()))
    local plain = new_layer { attention_axis = 1, axes = false }
    close(plain:forward(x[1]:select(2, 2)), truth(plain, x[1]:select(2, 2):tolist()))
    close(features:forward(x:unsqueeze(4))[1][2], plain:forward(x:unsqueeze(4)[1][2]))
  end)

  it("differentiates input and parameters", function()
    local layer = new_layer { causal = true }
    local small = fill({ 1, 3, 2, 6 }, { requires_grad = true })
    local inputs = { small, unpack(layer:parameters()) }
    assert.is_true(mosaic.gradcheck(function(t) return layer:forward(t) end, inputs, { tolerance = 2e-6 }))
  end)

  it("gives the same sharded by rows: 1 to 5 ranks, every layout, forward and gradients", function()
    local whole, dy = fill { 2, 7, 3, 6 }, fill({ 2, 7, 3, 6 }, { seed = 9 })
    local reference = new_layer { causal = true }
    local input = whole:clone():requires_grad_()
    local expected = reference:forward(input)
    expected:backward(dy)
    for size = 1, 5 do
      for _, layout in ipairs { "contiguous", "zigzag", "striped" } do
        local results = mosaic.virtual(size, function(comm)
          local layer = new_layer { backend = "ring", comm = comm, layout = layout, causal = true }
          local options = { axis = 2, comm = comm, layout = layout }
          local shard = mosaic.shard(whole, options):requires_grad_()
          local y = layer:forward(shard)
          y:backward(mosaic.shard(dy, options))
          mosaic.sync_gradients(layer, { comm = comm })
          return { mosaic.unshard(y, options), mosaic.unshard(shard.grad, options), layer }
        end)
        for _, result in ipairs(results) do
          close(result[1], expected)
          close(result[2], input.grad)
          local parameters = reference:parameters()
          for i, p in ipairs(result[3]:parameters()) do close(p.grad, parameters[i].grad) end
        end
      end
    end
  end)

  it("decodes with a cache what it gives for the whole sequence", function()
    local layer, mask = new_layer { causal = true, num_kv_heads = 1 }, { alibi = { 1, 0.5 } }
    local expected = layer:forward(x, { mask = mask })
    for size = 1, 3 do
      mosaic.virtual(size, function(comm)
        local own = new_layer { causal = true, num_kv_heads = 1, backend = "ring", comm = comm }
        mosaic.no_grad(function()
          local cache = own:kv_cache { batch = 6, mask = mask }
          for _, rows in ipairs { { 1, 3 }, { 4, 1 }, { 5, 1 } } do
            close(own:forward(x:narrow(2, unpack(rows)), { cache = cache }), expected:narrow(2, unpack(rows)))
          end
          local prompt, options = own:kv_cache { batch = 6, mask = mask }, { axis = 2, comm = comm }
          local y = own:forward(mosaic.shard(x, options), { cache = prompt, sharded = true })
          close(mosaic.unshard(y, options), expected)
          fails("the mask of a cache is its own", function()
            own:forward(x:narrow(2, 1, 1), { cache = cache, mask = mask })
          end)
        end)
      end)
    end
  end)

  it("refuses on every rank when ranks disagree, before anything is sent", function()
    local sent = {}
    mosaic.virtual(2, function(comm)
      local layer = new_layer { backend = "ring", comm = comm }
      comm:reset_counters()
      local columns = comm.rank == 0 and 3 or 4
      fails("ranks disagree on", function() layer:forward(fill { 2, 5, columns, 6 }) end)
      sent[comm.rank] = comm:counters("sendrecv").calls
    end)
    assert.same({ [0] = 0, [1] = 0 }, sent)
  end)

  it("names the wrong value in its options and inputs", function()
    local function refuses(text, changes)
      local settings = { embed_dim = 6, num_heads = 2, axes = AXES, attention_axis = "rows" }
      for name, value in pairs(changes) do settings[name] = value end
      fails(text, function() mosaic.MultiAxisAttention(settings) end)
    end
    refuses("embed_dim 6 is not divisible by num_heads 4", { num_heads = 4 })
    refuses("did you mean 'rows'?", { attention_axis = "row" })
    refuses("did you mean 'num_heads'?", { num_head = 2 })
    local layer, embed = new_layer(), new_layer { attention_axis = "embed" }
    refuses("axis 0 does not exist", { attention_axis = 0 })
    refuses("(did you mean 'ring'?)", { backend = "rinf" })
    refuses("causal must be true or false, got \"no\"", { causal = "no" })
    refuses("embed_dim must be an integer of at least 1, got -10", { embed_dim = -10 })
    mosaic.virtual(2, function(comm)
      for _, backend in ipairs { "local", { "local" }, false } do
        refuses("backend 'local' (the default) attends to one rank's rows, comm has 2 ranks: name a backend",
          { comm = comm, backend = backend or nil })
      end
      close(new_layer { comm = mosaic.comm.alone() }:forward(x), layer:forward(x))
    end)
    fails("is not embed_dim 6", function() layer:forward(fill { 2, 5, 3, 7 }) end)
    fails("has not the axes {batch, rows, features, embed}", function() layer:forward(fill { 5, 6 }) end)
    fails("attention_axis 4 of f64 [2,5,3,6] is the embedding", function() embed:forward(x) end)
  end)
end)
