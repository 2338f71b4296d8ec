local mosaic = require "mosaic"
local fails = require "spec.support.fails"
local state = require "mosaic.state"

local function here() return debug.getinfo(2, "l").currentline end

describe("virtual ranks", function()
  it("return one result per rank, in order", function()
    assert.same({ 0, 10, 20 }, mosaic.virtual(3, function(comm) return comm.rank * 10 end))
  end)

  it("see themselves as the world", function()
    local worlds = mosaic.virtual(3, function(comm)
      assert.equal(comm, mosaic.comm.world())
      return tostring(mosaic.comm.world())
    end)
    assert.same("comm: rank 2 of 3 (virtual)", worlds[3])
    assert.equal(1, mosaic.comm.world().size)
  end)

  it("keep their own recording switch across waits", function()
    mosaic.virtual(2, function(comm)
      if comm.rank == 0 then
        mosaic.no_grad(function()
          comm:barrier()
          assert.is_false(state.current.recording)
          comm:barrier()
        end)
      else
        comm:barrier()
        assert.is_true(state.current.recording)
        comm:barrier()
      end
    end)
    assert.is_true(state.current.recording)
  end)

  it("report who waits for whom in a ring of receives, with lines", function()
    local line
    fails("deadlock: rank 0 waits for recv f32 [4] from rank 1 (", function()
      mosaic.virtual(3, function(comm)
        comm:recv(mosaic.zeros { 4 }, (comm.rank + 1) % 3)
      end)
    end)
    local _, message = pcall(mosaic.virtual, 2, function(comm)
      line = here() + 1
      comm:recv(mosaic.zeros { 4 }, 1 - comm.rank, { tag = 7 })
    end)
    for rank = 0, 1 do
      local text = "rank %d waits for recv f32 [4] tag 7 from rank %d (spec/comm/virtual_spec.lua:%d)"
      assert(message:find(text:format(rank, 1 - rank, line), 1, true), message)
    end
  end)

  it("report a rank that finishes while others wait for it", function()
    fails("rank 2 waits for all_reduce f32 [1] sum #0 from rank 1 (", function()
      mosaic.virtual(3, function(comm)
        if comm.rank ~= 1 then comm:all_reduce(mosaic.ones { 1 }) end
      end)
    end)
    fails("; rank 1 has finished", function()
      mosaic.virtual(2, function(comm)
        if comm.rank == 0 then comm:barrier() end
      end)
    end)
  end)

  it("report a send that nobody receives, waited for or not", function()
    fails("deadlock: rank 0 waits for send f32 [2] to rank 1 (", function()
      mosaic.virtual(2, function(comm)
        if comm.rank == 0 then comm:send(mosaic.ones { 2 }, 1) end
      end)
    end)
    fails("rank 0 has finished without waiting for send f32 [2] to rank 1", function()
      mosaic.virtual(2, function(comm)
        if comm.rank == 0 then comm:send(mosaic.ones { 2 }, 1, { async = true }) end
      end)
    end)
  end)

  it("report collectives in different orders", function()
    local _, message = pcall(mosaic.virtual, 2, function(comm)
      local row = comm:split(0)
      if comm.rank == 0 then
        comm:barrier()
        row:all_gather(mosaic.ones { 1 }, 1, { 1, 1 })
      else
        row:all_gather(mosaic.ones { 1 }, 1, { 1, 1 })
        comm:barrier()
      end
    end)
    assert(message:find("rank 0 waits for barrier #1 from rank 1", 1, true), message)
    assert(message:find("rank 1 waits for all_gather f32 [1] #0 from rank 0", 1, true), message)
  end)

  it("take what two ranks send each other without receiving for a deadlock", function()
    fails("deadlock: rank 0 waits for send f32 [1] to rank 1", function()
      mosaic.virtual(2, function(comm)
        comm:send(mosaic.ones { 1 }, 1 - comm.rank)
        comm:recv(mosaic.ones { 1 }, 1 - comm.rank)
      end)
    end)
  end)

  it("deliver in a wait, never earlier", function()
    mosaic.virtual(2, function(comm)
      local into = mosaic.zeros { 1 }
      local receive = comm:recv(into, 1 - comm.rank, { async = true })
      local send = comm:send(mosaic.full({ 1 }, 5), 1 - comm.rank, { async = true })
      assert.equal(0, into:item())
      assert.equal(into, receive:wait())
      assert.equal(5, into:item())
      send:wait()
    end)
  end)

  it("send what the tensor holds when the message leaves: its storage is kept, its name may go", function()
    mosaic.virtual(2, function(comm)
      local send = comm:send(mosaic.full({ 1000 }, comm.rank), 1 - comm.rank, { async = true })
      collectgarbage()
      for _ = 1, 20 do mosaic.full({ 1000 }, 9) end -- would reuse freed memory
      assert.equal(1 - comm.rank, comm:recv(mosaic.zeros { 1000 }, 1 - comm.rank):get(1000))
      send:wait()
    end)
  end)

  it("name the rank of an error and keep its traceback", function()
    local function guilty() error "the cat is out" end
    local _, message = pcall(mosaic.virtual, 3, function(comm)
      comm:barrier()
      if comm.rank == 2 then guilty() end
      comm:barrier()
    end)
    assert(message:find "^rank 2: spec/comm/virtual_spec.lua:%d+: the cat is out\nstack traceback", message)
    assert(message:find("in function 'guilty'", 1, true), message)
  end)

  it("raise errors of the library at the user's line", function()
    mosaic.virtual(2, function(comm)
      local text = "all_reduce: op \"summ\" is not one of sum, mean, prod, min, max (did you mean 'sum'?)"
      fails(text, function()
        comm:all_reduce(mosaic.ones { 1 }, { op = "summ" })
      end)
    end)
  end)

  it("cannot wait inside a coroutine of their own", function()
    mosaic.virtual(2, function(comm)
      local ok, message = coroutine.resume(coroutine.create(function() comm:barrier() end))
      local text = "a virtual rank cannot wait inside a coroutine of its own"
      assert(not ok and message:find(text, 1, true), message)
    end)
  end)

  it("end with their world: what outlives it says so", function()
    local left
    mosaic.virtual(2, function(comm) left = comm end)
    fails("this virtual world has ended", function() left:send(mosaic.ones { 1 }, 0) end)
    local request
    pcall(mosaic.virtual, 2, function(comm)
      if comm.rank == 0 then request = comm:recv(mosaic.ones { 1 }, 1, { async = true }) end
    end)
    fails("recv f32 [1]: this virtual world has ended", function() request:wait() end)
  end)

  it("nest: a rank may spawn ranks of its own", function()
    local sums = mosaic.virtual(2, function(outer)
      local inner = mosaic.virtual(3, function(comm)
        return comm:all_reduce(mosaic.full({ 1 }, outer.rank + 1)):item()
      end)
      return outer:all_reduce(mosaic.full({ 1 }, inner[1])):item()
    end)
    assert.same({ 9, 9 }, sums)
  end)

  it("run by the hundred", function()
    local sums = mosaic.virtual(300, function(comm)
      local x = mosaic.full({ 1 }, comm.rank)
      for _ = 1, 5 do x = comm:sendrecv(x, (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size) end
      return x:item()
    end)
    assert.equal(295, sums[1])
    assert.equal(294, sums[300])
  end)

  it("may hold 1024 communicators at a time, and any number one after the other", function()
    mosaic.virtual(2, function(comm)
      local held = {}
      for i = 1, 1023 do held[i] = comm:split(0) end
      assert.equal(1023, #held)
      fails("split: more than 1024 live communicators", function() comm:split(0) end)
      for i = 1, 1023 do held[i] = nil end
      collectgarbage()
      collectgarbage()
      assert.equal(2, comm:split(0):all_reduce(mosaic.ones { 1 }):item())
    end)
  end)

  it("free their memory when they are gone", function()
    local heap = require "mosaic.heap"
    local C = require "mosaic.ffi"
    heap.collect()
    local before = tonumber(C.mosaic_memory_live())
    pcall(mosaic.virtual, 2, function(comm)
      comm:send(mosaic.ones { 1e6 }, 1 - comm.rank, { async = true })
      comm:all_reduce(mosaic.ones { 1e6 }, { async = true })
      error "gone"
    end)
    heap.collect()
    assert.equal(before, tonumber(C.mosaic_memory_live()))
  end)
end)
