--- How tensors on devices travel between processes: the way is chosen and told, and its failures end the job.
local device = require "spec.support.device"
local program = require "spec.support.program"

local TWO = "MOSAIC_EMULATED_DEVICES=2 "

--- A ring and a collective, whose sum rank 0 prints.
local EXCHANGE = [[
local mosaic = require "mosaic"
local comm = mosaic.comm.world()
local x = mosaic.zeros { 30000, device = "cuda" } + (comm.rank + 1)
local to, from = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
for _ = 1, 2 do x = comm:all_reduce(comm:sendrecv(x, to, from)) end
if comm.rank == 0 then print("sum " .. x:sum():item()) end
]]

local function run(environment, text, ranks)
  device.emulated_only "what machines have is made up"
  local path = program.script(text or EXCHANGE)
  local result = program(("-n %d %s"):format(ranks or 2, path), { env = environment })
  os.remove(path)
  return result
end

--- It travels so, and arrives: two ranks, 1 + 2, twice.
local function travels(environment, line)
  local result = run(environment)
  assert.equal("sum 180000\n", result.out)
  assert.equal("mosaic: tensors on cuda travel " .. line .. "\n", result.err)
  assert.equal(0, result.status)
end

local function ends(environment, status, ...)
  local result = run(environment)
  for _, part in ipairs { ... } do assert(result.err:find(part), result.err) end
  assert.equal(status, result.status)
end

-- The leg with lanes in reverse asks kernels.
local try = os.getenv "MOSAIC_EMULATED_ORDER" and pending or it

describe("tensors on devices travel", function()
  try("by NCCL where each rank has a GPU", function() travels(TWO, "by NCCL") end)

  try("by CUDA IPC where ranks share one, or have no NCCL", function()
    travels("MOSAIC_IPC_SLOT=10000", "by CUDA IPC: ranks share a GPU")
    travels(TWO .. "MOSAIC_NCCL_LIB=/none.so",
      "by CUDA IPC: no NCCL: /none.so: cannot open shared object file: No such file or directory")
  end)

  try("through the host where neither can be, or when told so", function()
    travels("MOSAIC_EMULATED_IPC=none", "through pinned host memory: ranks share a GPU, no CUDA IPC")
    travels(TWO .. "MOSAIC_TRANSPORT=staged", "through pinned host memory")
  end)

  try("through the host after all, where memory cannot be opened", function()
    travels("MOSAIC_EMULATED_IPC=closed", "by CUDA IPC: ranks share a GPU\nmosaic: tensors on cuda travel "
      .. "through pinned host memory: ranks share a GPU, no access to another process's memory")
  end)

  try("not at all, if not as they were told", function()
    local refused = "MOSAIC_TRANSPORT=nccl is not possible: "
    ends("MOSAIC_TRANSPORT=nccl", 1, refused .. "ranks share a GPU")
    ends(TWO .. "MOSAIC_TRANSPORT=nccl MOSAIC_NCCL_LIB=/none.so", 1, refused .. "no NCCL: /none.so: cannot")
    ends("MOSAIC_TRANSPORT=fax", 2, "MOSAIC_TRANSPORT must be one of auto, nccl, ipc, staged, got 'fax'")
  end)
end)

describe("pinned memory", function()
  local STAGED = "MOSAIC_TRANSPORT=staged MOSAIC_EMULATED_PINNED=report "

  --- Of each rank: bytes that were pinned for messages at the end, and at most.
  local function pinned(limit, piece, ranks, text)
    local environment = ("%sMOSAIC_STAGING_LIMIT=%d MOSAIC_STAGING_PIECE=%d"):format(STAGED, limit, piece)
    local result, found = run(environment, text, ranks), {}
    assert.equal(0, result.status, result.err)
    for last, most in result.err:gmatch "emulated CUDA: (%d+) bytes were pinned, at most (%d+)" do
      found[#found + 1] = { last - 2 ^ 23, most - 2 ^ 23 } -- without that of copies to and from the device
    end
    assert.equal(ranks, #found)
    return found
  end

  try("for one piece each way is enough, whatever ranks send each other", function()
    local found = pinned(1, 10000, 4, [[ -- pieces for which MPI has no memory of its own
      local mosaic = require "mosaic"
      local comm = mosaic.comm.world()
      local x, requests = mosaic.ones { 8, 5000, device = "cuda" } * comm.rank, {}
      for _ = 1, 2 do
        requests[#requests + 1] = comm:all_to_all(x, { split_axis = 1, concat_axis = 2, async = true })
      end
      for _, step in ipairs { 1, 3 } do -- 0 sends to 1 first, who receives from 2 first, who sends to 3, ...
        local other = (comm.rank + step) % 4
        requests[#requests + 1] = comm.rank % 2 == 1 and comm:recv(x:empty_like(), other, { async = true })
          or comm:send(x, other, { async = true })
      end
      for k = #requests, 1, -1 do
        local y = requests[k]:wait()
        assert(not y or y:mean():item() == (k > 2 and (comm.rank + 2 * k - 5) % 4 or 1.5))
      end]])
    for _, bytes in ipairs(found) do assert.same({ 2 ^ 17, 2 ^ 17 }, bytes) end
  end)

  try("is bounded, and given back when less was enough for a while", function()
    local found = pinned(2 ^ 20, 1000, 2, [[
      local mosaic = require "mosaic"
      local comm = mosaic.comm.world()
      local x, requests, other = mosaic.ones { 4000, device = "cuda" }, {}, 1 - comm.rank
      assert(x:sum():item() == 4000)
      for tag = 1, 8 do requests[tag] = comm:sendrecv(x, other, other, nil, { tag = tag, async = true }) end
      for tag = 1, 8 do requests[tag]:wait() end
      x = mosaic.ones { 600000, device = "cuda" }
      assert(comm:sendrecv(x, other, other):sum():item() == 600000)]])
    for _, bytes in ipairs(found) do
      local last, most = unpack(bytes)
      assert.is_true(most <= 2 ^ 21 and last < most, ("%d, at most %d"):format(last, most))
    end
  end)
end)

--- What the stand-in does to one rank's n-th operation.
local function fault(text) return TWO .. "MOSAIC_EMULATED_NCCL=" .. text end

describe("a failure of NCCL ends the job", function()
  local network = " failed: remote process exited or there was a network error"

  try("with its reason, where a communicator cannot be opened", function()
    ends(fault "init:1", 1, "%[rank 1/2 [^%]]*%] [^:]+:5: opening NCCL's communicator from rank %d to rank "
      .. "%d on cuda:1 failed: invalid usage: rank 1 was told to fail")
  end)

  try("again and again, where ranks cannot meet", function()
    local result = run(fault "id:0", [[
      local mosaic = require "mosaic"
      local comm = mosaic.comm.world()
      local x = mosaic.ones { 2, device = "cuda" }
      for _ = 1, 2 do print(select(2, pcall(comm.all_reduce, comm, x))) end
      error "over"]])
    local _, count = result.out:gsub("NCCL: no place to meet", "")
    assert.equal(2, count, result.out)
    assert.equal(1, result.status)
  end)

  try("with message and peer, where it comes later", function()
    ends(fault "error:1:2", 1, "%[rank 1/2 [^%]]*%] [^:]+:%d: sendrecv f32 %[30000%] %a+ rank 0 by NCCL on "
      .. "cuda:1" .. network, "emulated NCCL: rank %d of 2 aborts")
  end)

  try("with collective and peers", function()
    ends(fault "error:0:4", 1, "%[rank 0/2 [^%]]*%] [^:]+:%d: all_reduce f32 %[30000%] sum #%d+ from rank 1 "
      .. "by NCCL on cuda:0" .. network)
  end)

  try("after MOSAIC_TIMEOUT, where it hangs; the device's operations go on meanwhile", function()
    local result = run("MOSAIC_TIMEOUT=2.5 " .. fault "hang:1:2", [[
      local mosaic = require "mosaic"
      local comm = mosaic.comm.world()
      local x = mosaic.zeros { 30000, device = "cuda" } + 1
      local request = comm:all_reduce(x, { async = true })
      while comm:poll() > 0 do end
      print("sum " .. (x * 2):sum():item())
      io.stdout:flush()
      print(request:wait():sum():item())]])
    assert.equal("sum 60000\nsum 60000\n", result.out)
    assert(result.err:find("mosaic: rank %d/2 %([^)]+%): all_reduce f32 %[30000%] sum #%d+ from rank %d by "
      .. "NCCL on cuda:%d not complete after %d%.%d s"), result.err)
    assert.equal(86, result.status)
  end)
end)

describe("a job", function()
  try("that opens its world before its devices ends like any other", function()
    local result = run("", [[
      local mosaic = require "mosaic"
      local comm = mosaic.comm.world()
      comm:all_reduce(mosaic.ones { 5, device = "cuda" })]])
    assert.equal(0, result.status)
  end)

  try("that leaves its exchanges to its end ends before NCCL does", function()
    local result = run(TWO, [[
      local mosaic = require "mosaic"
      local comm = mosaic.comm.world()
      comm:all_reduce(mosaic.ones { 5, device = "cuda" }, { async = true })]])
    assert.same({ 0, "mosaic: tensors on cuda travel by NCCL\n" }, { result.status, result.err })
  end)

  try("whose ranks have operands on different devices ends at once", function()
    for _, name in ipairs { "broadcast", "scatter", "gather", "all_gather", "all_reduce", "exscan" } do
      local result = run("MOSAIC_TIMEOUT=20", ([[
        local mosaic = require "mosaic"
        local comm = mosaic.comm.world()
        local x = mosaic.ones { 2, device = comm.rank == 0 and "cuda" or "cpu" }
        local NAME = "%s"
        local rest = NAME == "broadcast" and { 0 } or NAME:find "^s" and { 1, 0, { 1, 1 } }
          or NAME == "gather" and { 1, 0, { 2, 2 } } or NAME == "all_gather" and { 1, { 2, 2 } } or {}
        comm[NAME](comm, x, unpack(rest))]]):format(name))
      assert(result.err:find(name .. " f32 %[%d%][^\n]* on cuda .* on cpu") or
        result.err:find(name .. " f32 %[%d%][^\n]* on cpu .* on cuda"), result.err)
      assert.equal(1, result.status)
    end
  end)

  try("ends after MOSAIC_TIMEOUT where a rank does not come, naming it", function()
    local result = run("MOSAIC_TIMEOUT=0.7", [[
      local mosaic = require "mosaic"
      local comm = mosaic.comm.world()
      if comm.rank == 1 then os.execute "sleep 8" end
      comm:broadcast(mosaic.ones { 1000, device = "cuda" }, 0)]])
    local report = "mosaic: rank 0/2 %([^)]+%): broadcast f32 %[1000%] root 0 #%d+ to rank 1 not complete "
      .. "after 0%.7 s; rank 1 has not come with a tensor on a device %([^)]+:4%)\n"
    assert(result.err:find(report), result.err)
    assert.equal(86, result.status)
  end)

  try("ends at once, too, where such a rank is far from the broadcast's root", function()
    local result = run("MOSAIC_TIMEOUT=20", [[
      local mosaic = require "mosaic"
      local comm = mosaic.comm.world()
      comm:broadcast(mosaic.ones { 2, device = comm.rank < 3 and "cuda" or "cpu" }, 0)]], 4)
    local says = "rank 2 sent broadcast f32 [2] root 0 on cuda (0 bytes), rank 3 expects broadcast f32 [2] "
      .. "root 0 on cpu (8 bytes)"
    assert(result.err:find(says, 1, true), result.err)
    assert.equal(1, result.status)
  end)

  try("refuses a rank's second device before anything is sent", function()
    local result = run(TWO .. "MOSAIC_TIMEOUT=20", [[
      local mosaic = require "mosaic"
      local comm = mosaic.comm.world()
      local x = mosaic.ones { 2, device = "cuda" }
      comm:all_reduce(x)
      if comm.rank == 1 then
        print(select(2, pcall(comm.all_reduce, comm, mosaic.ones { 2, device = "cuda:0" })))
      end
      if comm:all_reduce(x):sum():item() == 4 then print "fine" end]])
    assert.equal(0, result.status)
    assert(result.out:find("rank 1 sends and receives on cuda:1, not on cuda:0", 1, true), result.out)
    assert(result.out:find("fine\n.*fine\n"), result.out)
  end)
end)
