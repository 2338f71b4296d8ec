--- Mistakes that programs of several ranks made elsewhere, each by name: none may come in here.
local mosaic = require "mosaic"
local cases = require "spec.support.contract_cases"
local close = require "spec.support.close"
local contract = require "spec.support.contract"
local fill = require "spec.support.fill"
local nanotabpfn = require "spec.nanotabpfn.support"
local program = require "spec.support.program"
local statistics = require "nanotabpfn.statistics"

describe("a collective without a gradient:", function()
  -- rank r brings x_r = (r+1, ..., r+p) and takes (r+1) sum(y^2) for its loss; y is what the collective gives
  local P = 3
  local TOTAL = P * (P + 1) / 2 -- the sum of all ranks' weights
  local function x_of(rank, i) return rank + i end
  local function sum_over_ranks(i)
    local sum = 0
    for rank = 0, P - 1 do sum = sum + x_of(rank, i) end
    return sum
  end

  local COLLECTIVES = {
    all_gather = {
      function(comm, x) return comm:all_gather(x, 1) end,
      function(rank, i) return 2 * TOTAL * x_of(rank, i) end,
    },
    all_reduce = {
      function(comm, x) return comm:all_reduce(x) end,
      function(_, i) return 2 * TOTAL * sum_over_ranks(i) end,
    },
    reduce_scatter = {
      function(comm, x) return comm:reduce_scatter(x, 1) end,
      function(_, i) return 2 * i * sum_over_ranks(i) end, -- element i went to the rank i-1 of weight i
    },
    all_to_all = {
      function(comm, x) return comm:all_to_all(x, { split_axis = 1, concat_axis = 1 }) end,
      function(rank, i) return 2 * i * x_of(rank, i) end,
    },
    broadcast = {
      function(comm, x) return comm:broadcast(x, 1) end,
      function(rank, i) return rank == 1 and 2 * TOTAL * x_of(rank, i) or 0 end,
    },
    sendrecv = {
      function(comm, x)
        return comm:sendrecv(x, (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size)
      end,
      function(rank, i) return 2 * ((rank + 1) % P + 1) * x_of(rank, i) end,
    },
  }

  for name, collective in pairs(COLLECTIVES) do
    it(name, function()
      mosaic.virtual(P, function(comm)
        local numbers, expected = {}, {}
        for i = 1, P do
          numbers[i], expected[i] = x_of(comm.rank, i), collective[2](comm.rank, i)
        end
        local x = mosaic.tensor(numbers, { dtype = "f64" }):requires_grad_()
        local y = collective[1](comm, x)
        ;((y * y):sum() * (comm.rank + 1)):backward()
        close(x.grad or x:zeros_like(), expected) -- broadcast reads the root's x only
      end)
    end)
  end
end)

describe("statistics taken per shard:", function()
  it("columns are standardised by all rows, wherever they are", function()
    local counts, numbers, mean, square = { 4, 0, 1, 2 }, { 3, 1, 4, 1, 500, 900, 200 }, 0, 0
    for _, x in ipairs(numbers) do mean = mean + x / #numbers end
    for _, x in ipairs(numbers) do square = square + (x - mean) ^ 2 end
    mosaic.virtual(4, function(comm)
      local first = 0
      for rank = 1, comm.rank do first = first + counts[rank] end
      local all = mosaic.tensor(numbers, { dtype = "f64" }):view { 1, 7, 1 }
      local got, deviation = statistics.merged(comm, all:narrow(2, first + 1, counts[comm.rank + 1]), counts)
      close(got, { { { mean } } })
      close(deviation, { { { math.sqrt(square / 6) } } })
    end)
  end)

  it("nanoTabPFN gives one answer, even where every rank's rows are of another magnitude", function()
    local x, y = nanotabpfn.table(1, 9, 2)
    for row = 1, 9 do x:narrow(2, row, 1):mul_(10 ^ (row % 4)) end
    local expected = nanotabpfn.small_model { backend = "local", dtype = "f64" }(x, y, 6)
    mosaic.virtual(3, function(comm)
      local model = nanotabpfn.small_model { backend = "ring", dtype = "f64", comm = comm }
      local how = { axis = 2, comm = comm, layout = "contiguous" }
      local logits = model(mosaic.shard(x, how), mosaic.shard(y, how), 6)
      close(comm:all_gather(logits, 2, { 0, 0, 3 }), expected, 1e-10)
    end)
  end)

  it("a layer norm's answer and the norm of all gradients are those of one rank", function()
    local x = fill { 7, 4 } * 5
    local function train(part, comm)
      local norm = mosaic.nn.LayerNorm { features = 4, dtype = "f64" }
      local y = norm(part)
      ;(y * y * y):sum():backward()
      mosaic.sync_gradients(norm, { comm = comm })
      return y:detach(), mosaic.optim.clip_grad_norm_(norm:parameters(), 1e-3)
    end
    local expected, length = train(x, mosaic.comm.alone())
    mosaic.virtual(3, function(comm)
      local how = { axis = 1, comm = comm }
      local y, own_length = train(mosaic.shard(x, how), comm)
      close(mosaic.unshard(y, how), expected)
      close(own_length, length)
    end)
  end)
end)

describe("parameters that are neither broadcast nor synchronised:", function()
  it("three ranks that start apart train as one rank does", function()
    local x, y = fill { 7, 3 }, fill({ 7, 1 }, { seed = 2 })
    local function train(comm, seed)
      local how = { axis = 1, comm = comm }
      local inputs, targets = mosaic.shard(x, how), mosaic.shard(y, how)
      local model = mosaic.nn.Linear {
        in_features = 3, out_features = 1, dtype = "f64", generator = mosaic.generator(seed),
      }
      mosaic.broadcast_parameters(model, { comm = comm })
      local optimizer = mosaic.optim.SGD { params = model:parameters(), lr = 0.1 }
      for _ = 1, 3 do
        optimizer:zero_grad()
        local loss = (model(inputs) - targets):square():sum() / mosaic.total(inputs:size(1), { comm = comm })
        loss:backward()
        mosaic.sync_gradients(model, { comm = comm })
        optimizer:step()
      end
      return model
    end
    local alone = train(mosaic.comm.alone(), 1)
    mosaic.virtual(3, function(comm)
      local model = train(comm, comm.rank + 1)
      close(model.weight:detach(), alone.weight:detach())
      close(model.bias:detach(), alone.bias:detach())
    end)
  end)
end)

describe("groups created in different orders:", function()
  --- The sum of all ranks' numbers in a group.
  local function sum(comm, rank) return comm:all_reduce(mosaic.tensor({ rank }, { dtype = "f64" })):item() end

  it("axes of a mesh may be asked for in any order", function()
    mosaic.virtual(6, function(world)
      local mesh = mosaic.mesh { { "dp", 2 }, { "sp", 3 } }
      local names, comms = { "dp", "sp" }, {}
      if world.rank % 2 == 1 then names = { "sp", "dp" } end
      for _, name in ipairs(names) do comms[name] = mesh:comm(name) end
      local r = world.rank
      assert.equal(2 * (r % 3) + 3, sum(comms.dp, r)) -- r % 3 and 3 + r % 3
      assert.equal(r < 3 and 0 + 1 + 2 or 3 + 4 + 5, sum(comms.sp, r))
    end)
  end)

  -- rank 2 has no counterpart in node 1, yet takes part where the group of counterparts is made
  contract(it, { "hierarchical", nodes = { { 0 }, { 1, 2 } } },
    { ranks = { 3 }, lengths = { 7 }, dtypes = { "f64" }, masks = { causal = cases.MASKS.causal } })
end)

describe("a device chosen by the global rank:", function()
  it("a rank's place in its machine is counted there, in parts of the world too", function()
    local result = program([[--virtual 6 -e '
      local world = mosaic.comm.world()
      local function place(comm)
        for node, ranks in ipairs(comm:nodes()) do
          for at, rank in ipairs(ranks) do
            if rank == comm.rank then return ("%d:%d"):format(node, at - 1) end
          end
        end
      end
      local late = world:split(world.rank >= 2 and 1 or 0, -world.rank) -- 5 4 3 2
      local text = place(world) .. " " .. place(late)
      for rank, bytes in ipairs(world:all_gather_list { text:byte(1, -1) }) do
        if world.rank == 0 then print(rank - 1, string.char(unpack(bytes))) end
      end']], { env = "MOSAIC_NODE_SIZE=4" })
    assert.equal("0\t1:0 1:1\n1\t1:1 1:0\n2\t1:2 2:1\n3\t1:3 2:0\n4\t2:0 1:1\n5\t2:1 1:0\n",
      result.out .. result.err)
  end)
end)
