--- MultiAxisAttention with backend "switch": the truth is the same layer on one rank.
local mosaic = require "mosaic"
local close = require "spec.support.close"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"
local filled = require("spec.support.layer").filled

local AXES = { "batch", "rows", "features", "embed" }
local HEADS, ROWS, BATCH, FEATURES = 2, 7, 2, 3

local function new_layer(options)
  local settings = { embed_dim = 6, num_heads = HEADS, axes = AXES, attention_axis = "rows", dtype = "f64" }
  for name, value in pairs(options or {}) do settings[name] = value end
  return filled(mosaic.MultiAxisAttention(settings))
end

local function with_mask(mask, f)
  local copy = {}
  for name, value in pairs(mask) do
    copy[name] = mosaic.Tensor.is(value) and f(name, value:detach(), mask.rows_of) or value
  end
  copy.rows_of = nil
  return copy
end

--- What one rank computes: y, the gradients of x, of the parameters and of the mask's bias.
local function truth(x, dy, mask, options)
  local layer, leaf = new_layer(options), x:clone():requires_grad_()
  mask = with_mask(mask, function(name, t) return name == "bias" and t:clone():requires_grad_() or t end)
  local y = layer:forward(leaf, { mask = mask })
  y:backward(dy)
  return { y = y, dx = leaf.grad, parameters = layer:parameters(), dbias = mask.bias and mask.bias.grad }
end

--- The part of a mask that belongs to a rank's rows: tensors are cut along axis rows_of[name].
local function local_mask(mask, options)
  return with_mask(mask, function(name, t, rows_of)
    local axis = rows_of and rows_of[name]
    if axis then t = mosaic.shard(t, { axis = axis, comm = options.comm, layout = options.layout,
      indices = options.indices }) end
    return name == "bias" and t:clone():requires_grad_() or t
  end)
end

--- Runs the switched layer on every rank and compares with `expected`.
local function check_sharded(x, dy, mask, expected, ranks, how)
  mosaic.virtual(ranks, function(comm)
    local options = { axis = 2, comm = comm, layout = how.layout, indices = how.indices }
    local settings = { backend = "switch", switch_axis = how.switch_axis or "features", comm = comm,
      layout = how.layout, indices = how.indices, axes = how.axes, attention_axis = how.attention_axis }
    local layer = new_layer(settings)
    local shard = mosaic.shard(x, options):requires_grad_()
    local own = local_mask(mask, options)
    local y = layer:forward(shard, { mask = own })
    y:backward(mosaic.shard(dy, options))
    close(y, mosaic.shard(expected.y, options))
    close(shard.grad, mosaic.shard(expected.dx, options))
    mosaic.sync_gradients(layer, { comm = comm })
    for i, p in ipairs(layer:parameters()) do close(p.grad, expected.parameters[i].grad) end
    if own.bias then
      local axis = mask.rows_of and mask.rows_of.bias
      options.axis = axis
      close(axis and own.bias.grad or comm:all_reduce(own.bias.grad),
        axis and mosaic.shard(expected.dbias, options) or expected.dbias)
    end
  end)
end

local function ids(shape)
  local count, list = 1, {}
  for _, size in ipairs(shape) do count = count * size end
  for i = 1, count do list[i] = math.floor(i * 5 / 7) % 3 end
  return mosaic.tensor(list, { dtype = "i64" }):view(shape)
end

local function bits(shape) return fill(shape, { seed = 8 }):gt(-0.3) end

--- Every kind of mask; rows_of: along which axis the entry is sharded with the rows.
local MASKS = {
  none = {}, causal = { causal = true }, window = { window = { 2, 1 } }, prefix = { prefix = 4 },
  alibi = { alibi = { 0.5, 0.25 }, causal = true },
  documents = { documents = ids { ROWS }, rows_of = { documents = 1 } },
  ["documents of every sequence"] = {
    documents = ids { BATCH, FEATURES, ROWS }, rows_of = { documents = 3 },
  },
  keep = { keep = bits { ROWS, ROWS }, rows_of = { keep = 1 } },
  ["keep, by batch and head"] = { keep = bits { BATCH, 1, HEADS, ROWS, ROWS }, rows_of = { keep = 4 } },
  ["keep, by feature"] = { keep = bits { FEATURES, 1, ROWS, ROWS }, rows_of = { keep = 3 } },
  ["keep, one row for every query"] = { keep = bits { HEADS, 1, ROWS } },
  ["a function of what to keep"] = {
    keep = function(b, h, i, j) return (b + h + i * j) % 3 ~= 0 end,
  },
  ["a function of the score"] = {
    score = function(s, b, h, i, j) return s * 0.5 - 0.1 * b * h * (i - j) end, causal = true,
  },
  ["keys to keep"] = { keep = bits { BATCH, FEATURES, 1, 1, ROWS } },
  bias = { bias = fill({ HEADS, ROWS, ROWS }, { seed = 5 }), rows_of = { bias = 2 } },
  ["bias of every sequence"] = {
    bias = fill({ BATCH, FEATURES, HEADS, ROWS, ROWS }, { seed = 6 }), rows_of = { bias = 4 },
  },
  ["bias of keys, by feature"] = {
    bias = fill({ 1, FEATURES, 1, 1, ROWS }, { seed = 7 }), causal = true,
  },
}

describe("MultiAxisAttention with backend 'switch'", function()
  local shape = { BATCH, ROWS, FEATURES, 6 }
  local x, dy = fill(shape), fill(shape, { seed = 9 })

  for name, mask in pairs(MASKS) do
    it("equals one rank, forward and all gradients, 1 to 5 ranks, every layout: " .. name, function()
      local expected = truth(x, dy, mask)
      for ranks = 1, 5 do
        for _, layout in ipairs { "contiguous", "zigzag", "striped" } do
          check_sharded(x, dy, mask, expected, ranks, { layout = layout })
        end
      end
      check_sharded(x, dy, mask, expected, 2,
        { layout = "indices", indices = { { 7, 1, 4, 3 }, { 2, 6, 5 } } })
    end)
  end

  it("takes any other axis, also one of several on its side, and fewer rows than ranks", function()
    local wide = { 2, 2, 3, 2, 6 }
    local big, dbig = fill(wide), fill(wide, { seed = 2 })
    local mask = {
      keep = bits { 2, 6, 1, 2, 2 }, rows_of = { keep = 4 },
    }
    local expected = truth(big, dbig, mask, { axes = false, attention_axis = 2 })
    for _, other in ipairs { 1, 3, 4, -2 } do
      for _, ranks in ipairs { 2, 3, 5 } do
        check_sharded(big, dbig, mask, expected, ranks,
          { switch_axis = other, axes = false, attention_axis = 2, layout = "striped" })
      end
    end
  end)

  it("numbers batch entries as one rank does: functions, whichever side the other axis is on", function()
    local wide = { 3, 4, 2, 3, 6 }
    local big, dbig = fill(wide), fill(wide, { seed = 2 })
    local mask = { score = function(s, b, _, i, j) return s + 0.05 * b * (i - j) end }
    local expected = truth(big, dbig, mask, { axes = false, attention_axis = 2 })
    for _, other in ipairs { 1, 3 } do
      for _, ranks in ipairs { 2, 3, 4 } do
        check_sharded(big, dbig, mask, expected, ranks,
          { switch_axis = other, axes = false, attention_axis = 2, layout = "zigzag" })
      end
    end
  end)

  it("stays where it switched to: two axes attended in turn take one switch each", function()
    local rows, features = new_layer {}, new_layer { attention_axis = "features" }
    local leaf = x:clone():requires_grad_()
    local expected = features:forward(rows:forward(leaf))
    expected:backward(dy)
    for _, layout in ipairs { "contiguous", "zigzag" } do
      mosaic.virtual(3, function(comm)
        local options = { axis = 2, comm = comm, layout = layout }
        local first = new_layer {
          backend = "switch", switch_axis = "features", stay = true, comm = comm, layout = layout,
        }
        local second = new_layer {
          attention_axis = "features", backend = "switch", switch_axis = "rows", stay = true, comm = comm,
          layout = layout,
        }
        local shard = mosaic.shard(x, options):requires_grad_()
        comm:reset_counters()
        local between = first:forward(shard)
        assert.equal(FEATURES / 3, between:size(3))
        assert.equal(ROWS, between:size(2))
        local y = second:forward(between)
        assert.equal(2, comm:counters("all_to_all").calls)
        y:backward(mosaic.shard(dy, options))
        close(y, mosaic.shard(expected, options))
        close(shard.grad, mosaic.shard(leaf.grad, options))
      end)
    end
  end)

  it("sends x there and back, but for what stays", function()
    for _, ranks in ipairs { 2, 3, 5 } do
      mosaic.virtual(ranks, function(comm)
        local layer = new_layer { backend = "switch", switch_axis = "features", comm = comm }
        local shard = mosaic.shard(fill { 2, 11, 4, 6 }, { axis = 2, comm = comm, layout = "contiguous" })
        comm:reset_counters()
        mosaic.no_grad(layer.forward, layer, shard)
        local c = comm:counters "all_to_all"
        local part = mosaic.partition.new { rows = 4, ranks = ranks }:count(comm.rank)
        local there = 8 * 2 * shard:size(2) * (4 - part) * 6
        local back = 8 * 2 * (11 - shard:size(2)) * part * 6
        assert.same({ calls = 2, bytes_sent = there + back, bytes_received = there + back }, c)
      end)
    end
  end)

  it("needs nothing where another axis is the sharded one: the local backend", function()
    local expected = new_layer():forward(x)
    mosaic.virtual(2, function(comm)
      local options = { axis = 3, comm = comm, layout = "contiguous" }
      local layer = new_layer { backend = "local" }
      comm:reset_counters()
      close(layer:forward(mosaic.shard(x, options)), mosaic.shard(expected, options))
      assert.same({}, comm:counters())
    end)
  end)

  it("refuses on every rank what one rank gets wrong, before anything moves", function()
    local function refused(text, changes, input, mask)
      mosaic.virtual(2, function(comm)
        changes.backend, changes.comm = changes.backend or "switch", comm
        local layer = new_layer(changes)
        comm:reset_counters()
        fails(text, function() layer:forward(input(comm), { mask = mask and mask(comm) }) end)
        assert.is_nil(comm:counters().all_to_all)
        comm:barrier()
      end)
    end
    local function plain() return fill { 2, 4, 3, 6 } end
    local function other(comm) return fill { 2, 4, 3 + comm.rank, 6 } end
    refused("ranks disagree on shape: rank 0 [2,n,3,6], rank 1 [2,n,4,6]", { switch_axis = 3 }, other)
    refused("switch_axis is the attended axis 2 of f64 [2,4,3,6]", { switch_axis = 2 }, plain)
    refused("switch_axis 4 of f64 [2,4,3,6] is the embedding", { switch_axis = -1 }, plain)
    refused("is not embed_dim 6", { switch_axis = 3 },
      function(comm) return fill { 2, 4, 3, 6 + comm.rank } end)
    refused("mask.keep u8 [5,1,4,8] does not fit the batch axes {2, 3}", { switch_axis = 3 }, plain,
      function(comm) return { keep = comm.rank == 1 and bits { 5, 1, 4, 8 } or bits { 3, 1, 4, 8 } } end)
    refused("mask.bias f64 [4,7] is not for the 8 keys of all ranks", { switch_axis = 3 }, plain,
      function() return { bias = fill { 4, 7 } } end)
    refused("a mask's functions need batch entries that follow each other: switch_axis 4 of f64 [2,4,2,3,6]",
      { switch_axis = 4, axes = false, attention_axis = 2 }, function() return fill { 2, 4, 2, 3, 6 } end,
      function() return { keep = function(_, _, i, j) return j <= i end } end)
    refused("mask.documents has ids for 5 queries", { switch_axis = 3 }, plain,
      function(comm) return { documents = ids { 4 + comm.rank } } end)
  end)

  it("says which options belong together", function()
    local function refused(text, changes)
      local settings = { embed_dim = 6, num_heads = 2, axes = AXES, attention_axis = "rows" }
      for name, value in pairs(changes) do settings[name] = value end
      fails(text, function() mosaic.MultiAxisAttention(settings) end)
    end
    refused("MultiAxisAttention: backend 'switch' needs switch_axis", { backend = "switch" })
    refused("MultiAxisAttention: switch_axis is for backend 'switch'", { backend = "ring", switch_axis = 3 })
    refused("MultiAxisAttention: stay is for backend 'switch'", { stay = true })
    refused("switch_axis \"feature\" is not one of batch, rows, features, embed (did you mean 'features'?)",
      { backend = "switch", switch_axis = "feature" })
  end)
end)
