--- MOSAIC_PACE: a wire of a given latency and bandwidth. No message is earlier than that, and none changes.
local program = require "spec.support.program"

local mpi = os.execute "command -v mpirun >/dev/null 2>&1" == 0 and not os.getenv "OMPI_COMM_WORLD_SIZE"

--- Seconds since `start` as rank 0 sees them, from what the program prints: "NAME SECONDS" a line.
local function run(kind, pace, text)
  local path = program.script(([[
    local mosaic = require "mosaic"
    local clock = require "mosaic.clock"
    local function body(comm)
      local function numbers(count) return mosaic.arange(1, count):to "f32" end
      local function since(name, first)
        if comm.rank == 0 then print(name, clock() - first) end
      end
      %s
    end
    if %s then mosaic.virtual(3, body) else body(mosaic.comm.world()) end]]):format(text, kind == "virtual"))
  local result = program((kind == "virtual" and "" or "-n 3 ") .. path, { env = "MOSAIC_PACE=" .. pace })
  os.remove(path)
  assert.equal("", result.err)
  local seconds = {}
  for name, value in result.out:gmatch "(%w+)%s+([%d.e+-]+)" do seconds[name] = tonumber(value) end
  return seconds
end

local function at_least(seconds, name, bound)
  assert(seconds[name], name .. " is missing")
  assert(seconds[name] >= bound, ("%s: %g s, no less than %g expected"):format(name, seconds[name], bound))
end

for _, kind in ipairs { "virtual", "mpi" } do
  local try = (kind == "virtual" or mpi) and it or pending
  describe("a paced wire between ranks, " .. kind, function()
    try("takes latency and bytes over bandwidth, and changes nothing", function()
      local seconds = run(kind, "4000:0.1", [[
        for _, count in ipairs { 1, 50000 } do -- there and back
          local x, start = numbers(count), clock()
          if comm.rank == 0 then comm:send(x, 1) end
          if comm.rank < 2 then x = comm:sendrecv(x, nil, 1 - comm.rank) end
          if comm.rank == 1 then comm:send(x, 0) end
          since(count == 1 and "small" or "large", start)
          for i, value in ipairs(x:flat()) do assert(value == i) end
        end
        local start, x = clock(), numbers(30000):requires_grad_()
        comm:all_reduce(x):sum():backward()
        since("reduced", start)
        assert(x.grad[30000]:item() == 3)
      ]])
      at_least(seconds, "small", 2 * 4e-3)
      at_least(seconds, "large", 2 * (4e-3 + 50000 * 4 * 8 / 1e8))
      at_least(seconds, "reduced", 4e-3)
    end)

    try("carries one message after the other, out of a rank and into it", function()
      local seconds = run(kind, "0:0.1", [[
        local x, token, start = numbers(25000), mosaic.zeros { 1 }, clock()
        local function both(what, first, second)
          local a = what(comm, x, first, { async = true })
          local b = what(comm, numbers(25000), second, { async = true })
          a:wait()
          b:wait()
        end
        if comm.rank == 0 then -- asks the others, who send at once
          for other = 1, 2 do comm:send(token, other) end
          both(comm.recv, 1, 2)
        else
          comm:recv(token, 0)
          comm:send(x, 0)
        end
        since("gathered", start)
        start = clock()
        if comm.rank == 0 then -- asks rank 1, who serves rank 2 first
          comm:send(token, 1)
          comm:recv(x, 1)
        elseif comm.rank == 1 then
          comm:recv(token, 0)
          both(comm.send, 2, 0)
        else
          comm:recv(x, 1)
        end
        since("scattered", start)
      ]])
      at_least(seconds, "gathered", 2 * 25000 * 4 * 8 / 1e8)
      at_least(seconds, "scattered", 2 * 25000 * 4 * 8 / 1e8)
    end)

  end)
end

describe("a paced wire", function()
  it("does not slow what a rank sends to itself, and deadlocks are known", function()
    local path = program.script [[require "mosaic".virtual(2, function(comm)
      local mosaic = require "mosaic"
      assert(comm:sendrecv(mosaic.ones { 5 }, comm.rank, comm.rank):size(1) == 5)
      comm:recv(mosaic.zeros { 1 }, 1 - comm.rank)
    end)]]
    local result = program(path, { env = "MOSAIC_PACE=1000000000:1" })
    os.remove(path)
    assert.matches("deadlock: rank 0 waits for recv f32 %[1%] from rank 1", result.err)
  end)
end)
