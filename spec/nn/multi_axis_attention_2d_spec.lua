--- MultiAxisAttention2D: the truth is attention over the flattened positions, in plain doubles.
local mosaic = require "mosaic"
local close = require "spec.support.close"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"
local support = require "spec.support.layer"

local AXES = { "batch", "rows", "features", "embed" }

local function options_with(changes)
  local options = {
    embed_dim = 6, num_heads = 2, axes = AXES, axis1 = "rows", axis2 = "features", mesh_shape = { 1, 1 },
    dtype = "f64", causal = true,
  }
  for name, value in pairs(changes or {}) do options[name] = value or nil end
  return options
end

local function new_layer(changes)
  return support.filled(mosaic.MultiAxisAttention2D(options_with(changes)))
end

--- A row of keep for every position, as (rows, features, all positions).
local function keep_of(n1, n2)
  return fill({ n1, n2, n1 * n2 }, { seed = 4 }):gt(-0.5)
end

--- One rank and a mesh of ranks give the same for x (2, n1, n2, 6), with a mask of each rank's positions.
local function same(shape, n1, n2, changes, ranks)
  local keep, settings = keep_of(n1, n2), {}
  for name, value in pairs(changes or {}) do settings[name] = value end
  settings.mesh_shape = shape
  support.same {
    ranks = ranks or shape[1] * shape[2], inputs = { fill { 2, n1, n2, 6 } },
    whole = function() return mosaic.MultiAxisAttention2D(options_with { backend = "local" }) end,
    sharded = function(comm)
      settings.comm = comm
      return mosaic.MultiAxisAttention2D(options_with(settings))
    end,
    cut = function(_, layer)
      return function(x) return layer:shard(x) end
    end,
    step = function(layer, leaves, cut)
      local own = cut and layer:shard(keep, { axis1 = 1, axis2 = 2 }) or keep
      return layer:forward(leaves[1], { mask = { keep = own:reshape(-1, n1 * n2) } })
    end,
  }
end

describe("MultiAxisAttention2D", function()
  it("attends over the flattened positions, the other axes being batch", function()
    local layer, x = new_layer {}, fill { 2, 3, 4, 6 }
    local y = layer:forward(x)
    for b = 1, 2 do
      close(y[b]:reshape(12, 6), support.truth(layer, x[b]:reshape(12, 6):tolist(), { causal = true }))
    end
  end)

  it("takes the axes in any place and order, as numbers too", function()
    local layer = new_layer { axes = false, axis1 = -2, axis2 = 1 }
    local x = fill { 3, 2, 4, 6 }
    local y = layer:forward(x)
    for b = 1, 2 do
      local flat = x:select(2, b):permute(2, 1, 3)
      close(y:select(2, b):permute(2, 1, 3):reshape(12, 6),
        support.truth(layer, flat:reshape(12, 6):tolist(), { causal = true }))
    end
  end)

  for _, layout in ipairs { "contiguous", "zigzag", "striped" } do
    it("equals one rank on meshes of 1 to 6 ranks, forward and all gradients: " .. layout, function()
      for _, shape in ipairs { { 1, 1 }, { 2, 1 }, { 1, 2 }, { 2, 2 }, { 2, 3 }, { 3, 2 } } do
        same(shape, 5, 4, { layout = layout })
      end
    end)
  end

  it("equals one rank where blocks are empty: 1 x 1 to 2 x 1 positions on 2 x 3 ranks", function()
    same({ 2, 3 }, 1, 1)
    same({ 2, 3 }, 2, 1, { layout = "zigzag" })
    same({ 3, 2 }, 1, 4)
  end)

  it("takes other exact strategies for the sequence", function()
    for _, backend in ipairs { "ring", "gather", "heads", { "composed", mesh_shape = { 2, 2 } } } do
      same({ 2, 2 }, 3, 5, { backend = backend, layout = "striped" })
    end
  end)

  it("has equal causal work on every rank of the mesh in layout zigzag", function()
    local work = mosaic.virtual(4, function(comm)
      local layer = new_layer { mesh_shape = { 2, 2 }, comm = comm, layout = "zigzag" }
      local x = layer:shard(fill { 1, 32, 16, 6 })
      mosaic.attention.reset_work()
      mosaic.no_grad(layer.forward, layer, x)
      return mosaic.attention.work().forward
    end)
    local most, sum = math.max(unpack(work)), work[1] + work[2] + work[3] + work[4]
    assert.is_true(most <= 1.03 * sum / 4, ("%g of a mean of %g"):format(most, sum / 4))
  end)

  it("works in a Sequential", function()
    local layer, x = new_layer {}, fill { 2, 3, 4, 6 }
    close(mosaic.nn.Sequential { layer, layer }(x), layer(layer(x)))
  end)

  it("refuses blocks that make no mesh, on every rank", function()
    mosaic.virtual(4, function(comm)
      local layer = new_layer { mesh_shape = { 2, 2 }, comm = comm }
      fails("rank 3 brings a block of 3 x 2, but its row and column of the mesh have 2 x 2",
        function() layer:forward(fill { 1, comm.rank == 3 and 3 or 2, 2, 6 }) end)
      fails("is not embed_dim 6", function() layer:forward(fill { 1, 2, 2, comm.rank == 1 and 5 or 6 }) end)
      local wrong = new_layer { mesh_shape = { 2, 3 }, comm = comm }
      fails("mesh_shape {2, 3} is not a mesh of 4 ranks", function() wrong:forward(fill { 1, 2, 2, 6 }) end)
    end)
  end)

  it("names the wrong value in its options", function()
    local function refuses(text, changes)
      fails(text, function() mosaic.MultiAxisAttention2D(options_with(changes)) end)
    end
    refuses("MultiAxisAttention2D: option 'mesh_shape' (table) is missing", { mesh_shape = false })
    refuses("mesh_shape[2] must be an integer of at least 1, got 0", { mesh_shape = { 2, 0 } })
    refuses("mesh_shape has 3 entries, not 2", { mesh_shape = { 2, 1, 1 } })
    refuses("did you mean 'features'?", { axis2 = "feature" })
    refuses("layout \"indices\" is not one of", { layout = "indices" })
    refuses("the backend must be exact, but this one is not", { backend = { "infini", segment = 4 } })
    local twice = new_layer { axis2 = "rows" }
    fails("axis1 and axis2 are both axis 2 of f64 [1,2,2,6]",
      function() twice:forward(fill { 1, 2, 2, 6 }) end)
  end)
end)
