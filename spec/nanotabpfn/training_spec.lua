local mosaic = require "mosaic"
local Trainer = require "nanotabpfn.trainer"
local curve = require "spec.nanotabpfn.curve"
local prior = require "nanotabpfn.prior"
local support = require "spec.nanotabpfn.support"

local near = support.near

local golden = mosaic.load "spec/golden/nanotabpfn_train20.safetensors"

local function f64(list) return mosaic.tensor(list, { dtype = "f64" }) end

--- Every `prefix.PARAMETER` of the reference beside the parameter.
local function near_all(state, prefix, bound)
  for name, expected in pairs(golden) do
    local parameter = name:match("^" .. prefix .. "%.(.*)")
    if parameter then near(state[parameter], expected, bound) end
  end
end

describe("nanoTabPFN training", function()
  it("follows the reference for 20 steps: loss, gradient norm, y and x", function()
    local trainer = curve.reference("f32", golden)
    near(f64(trainer.losses), golden.loss, 1e-5)
    near(f64(trainer.norms), golden.grad_norm, 1e-4, true)
    local state = trainer.model:state_dict()
    near_all(state, "final_y", 1e-4)
    trainer:averaged(function() near_all(state, "final_x", 1e-4) end)
  end)

  it("follows the reference in f64 to the last digits", function()
    local trainer = curve.reference("f64", golden, "local", 5)
    near(f64(trainer.losses), golden.loss:narrow(1, 1, 5), 1e-12)
    near(f64(trainer.norms), golden.grad_norm:narrow(1, 1, 5), 1e-12, true)
  end)

  it("has the same loss curve on 1, 2, 3, 4 and 8 ranks, some without train or test rows", function()
    local expected = curve.small { backend = "local" }
    assert.is_true(expected[17] < expected[1]) -- the same table
    for _, ranks in ipairs { 1, 2, 3, 4, 8 } do
      local curves = mosaic.virtual(ranks, function() return curve.small { backend = "ring" } end)
      for _, losses in ipairs(curves) do near(f64(losses), f64(expected), 1e-4) end
    end
  end)

  for name, backend in pairs {
    switch = "switch", mesh2d = "mesh2d", heads = "heads", rshard = "rshard",
    composed = { "composed", seq_parallel = "ring" },
    hierarchical = { "hierarchical", intra_node_size = 2, intra_node_strategy = "ring" },
    ["ring, and heads over columns"] = { rows = "ring", columns = "heads" },
    ["heads over rows and over columns"] = { rows = "heads", columns = "heads" },
  } do
    it("has the same loss curve under " .. name .. " on 4 ranks", function()
      local expected = curve.small { backend = "local" }
      local curves = mosaic.virtual(4, function() return curve.small { backend = backend } end)
      for _, losses in ipairs(curves) do near(f64(losses), f64(expected), 1e-4) end
    end)
  end

  it("learns on generated tables", function()
    local trainer = Trainer {
      model = support.small_model { num_layers = 1 }, tables = 4, rows = 40, features = 3, seed = 3,
    }
    local losses = {}
    for step = 1, 30 do losses[step] = trainer:next() end
    local function mean(from, to)
      local sum = 0
      for i = from, to do sum = sum + losses[i] / (to - from + 1) end
      return sum
    end
    assert.is_true(mean(21, 30) < mean(1, 5))
  end)

  it("refuses tables that cannot be made", function()
    for name, value in pairs { rows = 3, tables = 2.5, features = 0, seed = -1 } do
      support.fails(("Trainer: %s must be an integer of at least"):format(name),
        function() Trainer { model = support.small_model {}, [name] = value } end)
    end
    support.fails("prior.batch: rows must be an integer of at least 4, got 1", function()
      prior.batch { seed = 0, index = 0, tables = 1, rows = 1, features = 2, classes = 2 }
    end)
  end)

  it("is the same whether or not it is evaluated between the steps", function()
    local function run(evaluate)
      local trainer = Trainer { model = support.small_model {}, tables = 1, rows = 12, features = 2 }
      for _ = 1, 3 do
        trainer:next()
        if evaluate then trainer:averaged(function() end) end
      end
      return trainer.model:state_dict()["decoder.linear2.weight"]:flat()
    end
    assert.same(run(false), run(true))
  end)
end)

describe("nanoTabPFN with sharded rows", function()
  local x, y = support.table(2, 13, 3)
  local T = 5

  --- Logits of all test rows and one gradient, from rank 0.
  local function run(options)
    local model = support.small_model(options)
    local comm = model:communicator()
    local shard = { axis = 2, comm = comm, layout = options.layout }
    local own_x, own_y = mosaic.shard(x, shard), mosaic.shard(y, shard)
    local logits = model(own_x, own_y, T)
    logits:square():sum():backward()
    mosaic.sync_gradients(model, { comm = comm })
    return {
      logits = comm:all_gather(logits:detach(), 2),
      gradient = model.feature_encoder.linear_layer.weight.grad,
      attention = model.transformer_blocks[1].self_attention_between_datapoints.in_proj_weight.grad,
    }
  end

  for _, layout in ipairs { "contiguous", "zigzag", "striped" } do
    it("gives the logits and gradients of one rank: " .. layout, function()
      local expected = run { backend = "local", dtype = "f64" }
      for _, ranks in ipairs { 2, 3, 5, 8 } do
        local results = mosaic.virtual(ranks, function()
          local backend = ranks % 2 == 0 and "ring" or { rows = "ring", columns = "heads" }
          return run { backend = backend, dtype = "f64", layout = layout }
        end)
        local got = results[1]
        if layout == "contiguous" then near(got.logits, expected.logits, 1e-12) end
        near(got.gradient, expected.gradient, 1e-11, true)
        near(got.attention, expected.attention, 1e-11, true)
      end
    end)
  end

  it("refuses ranks that bring different tables, on all of them", function()
    local messages = mosaic.virtual(2, function(comm)
      local model = support.small_model { backend = "ring" }
      local ok, message = pcall(model, x:narrow(3, 1, 2 + comm.rank), y, T)
      return { ok, tostring(message) }
    end)
    for _, result in ipairs(messages) do
      assert.is_false(result[1])
      assert.truthy(result[2]:find("NanoTabPFN", 1, true))
      assert.truthy(result[2]:find("features", 1, true))
    end
  end)

  it("makes the same tables on every rank", function()
    local options = { seed = 2, index = 7, tables = 2, rows = 20, features = 3, classes = 2 }
    local whole = prior.batch(options)
    local parts = mosaic.virtual(3, function(comm)
      local batch = prior.shard(comm, options)
      return comm:all_gather(batch.x, 2):flat()
    end)
    for _, part in ipairs(parts) do assert.same(whole.x:flat(), part) end
  end)
end)
