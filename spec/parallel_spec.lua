local mosaic = require "mosaic"
local close = require "spec.support.close"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"

local LAYOUTS = { "contiguous", "zigzag", "striped" }

describe("shard and unshard", function()
  it("are inverses: 1 to 5 ranks, every layout, any axis", function()
    local whole = fill { 3, 7, 2 }
    for size = 1, 5 do
      for _, layout in ipairs(LAYOUTS) do
        mosaic.virtual(size, function(comm)
          local options = { axis = -2, layout = layout, comm = comm }
          close(mosaic.unshard(mosaic.shard(whole, options), options), whole)
        end)
      end
    end
  end)

  it("take index lists", function()
    local whole = fill { 4, 2 }
    mosaic.virtual(2, function(comm)
      local options = { axis = 1, indices = { { 4, 1 }, { 3, 2 } }, comm = comm }
      local shard = mosaic.shard(whole, options)
      close(shard[1], whole[comm.rank == 0 and 4 or 3])
      close(mosaic.unshard(shard, options), whole)
    end)
  end)

  it("carry gradients: every rank's loss counts", function()
    local weight = fill({ 7 }, { seed = 3 })
    mosaic.virtual(3, function(comm)
      local options = { axis = 1, layout = "zigzag", comm = comm }
      local shard = mosaic.shard(fill { 7 }, options):requires_grad_()
      local whole = mosaic.unshard(shard, options)
      ;(whole * whole * weight):sum():backward()
      local expected = mosaic.shard(fill { 7 } * weight * 2 * 3, options) -- three equal losses
      close(shard.grad, expected)
    end)
  end)

  it("refuse shards that the layout does not give", function()
    mosaic.virtual(2, function(comm)
      local x = fill { comm.rank == 0 and 3 or 1 }
      fails("unshard: rank 0 brings 3, but layout 'zigzag' of 4 rows on 2 ranks gives it 2", function()
        mosaic.unshard(x, { axis = 1, layout = "zigzag", comm = comm })
      end)
      assert.equal(4, mosaic.unshard(x, { axis = 1, comm = comm }):size(1)) -- contiguous may be uneven
    end)
  end)

  it("name a wrong axis and layout", function()
    fails("shard: axis 0 does not exist", function() mosaic.shard(fill { 2 }, { axis = 0 }) end)
    fails("did you mean 'zigzag'?", function() mosaic.shard(fill { 2 }, { axis = 1, layout = "zizag" }) end)
  end)
end)

describe("sync_gradients", function()
  local function new_model(seed)
    local model = mosaic.nn.Linear { in_features = 3, out_features = 2, dtype = "f64" }
    mosaic.no_grad(function() model.weight:copy_(fill({ 2, 3 }, { seed = seed })) end)
    return model
  end

  --- The mean squared output over all rows, wherever they are.
  local function local_loss(model, x, count)
    local y = model(x)
    return (y * y):sum() / count
  end

  it("gives the gradient of the global mean: uneven shards, an empty one included", function()
    local whole, reference = fill { 5, 3 }, new_model(1)
    local_loss(reference, whole, 5):backward()
    mosaic.virtual(7, function(comm)
      local model = new_model(comm.rank + 1)
      mosaic.no_grad(function() model.bias:copy_(reference.bias) end)
      mosaic.broadcast_parameters(model, { comm = comm })
      local x = mosaic.shard(whole, { axis = 1, comm = comm })
      assert.equal(5, mosaic.total(x:size(1), { comm = comm }))
      local_loss(model, x, 5):backward()
      mosaic.sync_gradients(model, { comm = comm })
      close(model.weight.grad, reference.weight.grad)
      close(model.bias.grad, reference.bias.grad)
    end)
  end)

  it("counts a parameter that one rank did not use as zero there", function()
    mosaic.virtual(2, function(comm)
      local model = new_model(1)
      if comm.rank == 1 then model.weight:sum():backward() end
      mosaic.sync_gradients(model, { comm = comm })
      assert.same({ { 1, 1, 1 }, { 1, 1, 1 } }, model.weight.grad:tolist())
      assert.same({ 0, 0 }, model.bias.grad:tolist())
    end)
  end)

  it("is one message, of the parameters' bytes", function()
    mosaic.virtual(2, function(comm)
      local model = new_model(1)
      comm:reset_counters()
      mosaic.sync_gradients(model, { comm = comm })
      assert.equal(1, comm:counters("all_reduce").calls)
      assert.equal(8 * 8, comm:counters("all_reduce").bytes_sent)
    end)
  end)
end)
