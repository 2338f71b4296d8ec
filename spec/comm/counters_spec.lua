local mosaic = require "mosaic"
local worlds = require "spec.support.worlds"

--- Bytes of an f32 tensor with n elements.
local function f32(n) return 4 * n end

describe("counters", function()
  local function counted(comm, kind, body)
    comm:reset_counters()
    body()
    local c = comm:counters(kind)
    assert.equal(1, c.calls)
    return c.bytes_sent, c.bytes_received
  end

  it("follow 2 (p-1)/p n for a large all_reduce, (p-1) n for a small one", function()
    worlds(function(comm)
      local p = comm.size
      local sent, received = counted(comm, "all_reduce", function()
        comm:all_reduce(mosaic.ones { 840 * 4 })
      end)
      assert.equal(2 * (p - 1) / p * f32(840 * 4), sent)
      assert.equal(sent, received)
      sent, received = counted(comm, "all_reduce", function() comm:all_reduce(mosaic.ones { 10 }) end)
      assert.equal((p - 1) * f32(10), sent)
      assert.equal(sent, received)
    end)
  end)

  it("follow (p-1) blocks for all_gather, and what others get for reduce_scatter", function()
    worlds(function(comm)
      local p, sizes, total = comm.size, {}, 0
      for r = 1, p do
        sizes[r] = r
        total = total + r
      end
      local own = comm.rank + 1
      local sent, received = counted(comm, "all_gather", function()
        comm:all_gather(mosaic.ones { 3, own }, 2, sizes)
      end)
      assert.equal((p - 1) * f32(3 * own), sent)
      assert.equal(f32(3 * (total - own)), received)
      sent, received = counted(comm, "reduce_scatter", function()
        comm:reduce_scatter(mosaic.ones { 3, total }, 2, sizes)
      end)
      assert.equal(f32(3 * (total - own)), sent)
      assert.equal((p - 1) * f32(3 * own), received)
    end)
  end)

  it("follow (p-1)/p n for all_to_all", function()
    worlds(function(comm)
      local p, sizes = comm.size, {}
      for r = 1, p do sizes[r] = 2 end
      local sent, received = counted(comm, "all_to_all", function()
        comm:all_to_all(mosaic.ones { 2, 2 * p }, { split_axis = 2, concat_axis = 1, concat_sizes = sizes })
      end)
      assert.equal((p - 1) / p * f32(4 * p), sent)
      assert.equal(sent, received)
    end)
  end)

  it("count p-1 blocks in all for broadcast and gather, and nothing for barrier", function()
    worlds(function(comm)
      local sent, received = counted(comm, "broadcast", function() comm:broadcast(mosaic.ones { 5 }, 0) end)
      assert.equal(comm.rank == 0 and 0 or f32(5), received)
      local depth = math.ceil(math.log(comm.size) / math.log(2) - 1e-9)
      assert(sent <= depth * f32(5), "a tree's root sends log2(p) blocks")
      assert.equal((comm.size - 1) * f32(5), comm:all_reduce(mosaic.full({ 1, dtype = "i64" }, sent)):item())
      sent, received = counted(comm, "gather", function()
        local sizes = {}
        for r = 1, comm.size do sizes[r] = 7 end
        comm:gather(mosaic.ones { 7 }, 1, 0, sizes)
      end)
      assert.equal(comm.rank == 0 and 0 or f32(7), sent)
      assert.equal(comm.rank == 0 and (comm.size - 1) * f32(7) or 0, received)
      assert.equal(0, (counted(comm, "barrier", function() comm:barrier() end)))
    end)
  end)

  it("count a ring: one block a step each way, none to oneself", function()
    worlds(function(comm)
      local p, x = comm.size, mosaic.ones { 6 }
      comm:reset_counters()
      for _ = 1, p - 1 do x = comm:sendrecv(x, (comm.rank + 1) % p, (comm.rank - 1) % p) end
      local c = comm:counters "sendrecv"
      assert.same({ calls = p - 1, bytes_sent = (p - 1) * 24, bytes_received = (p - 1) * 24 }, c)
      comm:sendrecv(x, comm.rank, comm.rank)
      assert.equal((p - 1) * 24, comm:counters("sendrecv").bytes_sent)
    end)
  end)

  it("belong to one communicator, list what was used, and start again", function()
    mosaic.virtual(2, function(comm)
      local part = comm:split(0)
      part:all_reduce(mosaic.ones { 1 })
      assert.is_nil(comm:counters().all_reduce)
      assert.same({ all_reduce = { calls = 1, bytes_sent = 4, bytes_received = 4 } }, part:counters())
      part:reset_counters()
      assert.same({}, part:counters())
    end)
  end)
end)
