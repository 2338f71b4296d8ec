--- Messages go on while kernels compute, without any call of the communicator.
local mosaic = require "mosaic"
local C = require "mosaic.ffi"
local clock = require "mosaic.clock"

local comm = mosaic.comm.world()
local MOST = 60 -- seconds; without polling the message would not come after any number of computations

--- Computes until this `kind` of operation has received so many bytes; the last result.
local function compute_until(body, kind, bytes)
  local start = clock()
  repeat
    local result = body()
    if comm:counters(kind).bytes_received >= bytes then return result end
  until clock() > start + MOST
  error(("%s: %d of %d bytes after %d s"):format(kind, comm:counters(kind).bytes_received, bytes, MOST))
end

local function same_bits(got, want)
  got, want = got:flat(), want:flat()
  for i = 1, #want do assert.equal(want[i], got[i]) end
end

local function noise(shape, seed)
  mosaic.manual_seed(seed)
  return mosaic.randn(shape)
end

--- Two functions that compute for long and give a tensor: attention forward, and backward.
local function computations(dtype, rows)
  local q, k, v = noise({ 1, 2, rows, 16 }, 1):to(dtype), noise({ 1, 2, rows, 16 }, 2):to(dtype),
    noise({ 1, 2, rows, 16 }, 3):to(dtype)
  local out, lse = mosaic.sdpa(q, k, v)
  local delta = mosaic.attention.delta(out, out)
  return function() return (mosaic.sdpa(q, k, v)) end,
    function() return (select(2, mosaic.attention.backward(out, lse, delta, q, k, v))) end
end

local function numbers(count) return mosaic.arange(1, count):to "f32" end

describe("while a rank computes", function()
  local threads = C.mosaic_threads()
  after_each(function() C.mosaic_set_threads(threads) end)

  for _, dtype in ipairs { "f32", "f64" } do
    for i, body in ipairs { computations(dtype, 300) } do
      local name = ("a large message arrives during attention, %s %s"):format(dtype, i == 1 and "forward"
        or "backward")
      it(name, function()
        C.mosaic_set_threads(2)
        local x, want = numbers(60000), body()
        comm:reset_counters()
        if comm.rank == 0 then
          comm:send(x, 1)
        elseif comm.rank == 1 then
          local y = mosaic.zeros { 60000 }
          local request = comm:recv(y, 0, { async = true })
          same_bits(compute_until(body, "recv", 4 * 60000), want)
          request:wait()
          same_bits(y, x)
        end
        comm:barrier()
      end)
    end
  end

  it("sums are made in the middle of a loop over threads, and are right", function()
    C.mosaic_set_threads(2)
    local count = 80000
    local x, body = numbers(count):mul_(comm.rank + 1), (computations("f32", 800))
    local want, sum = body(), numbers(count):mul_(comm.size * (comm.size + 1) / 2)
    for _ = 1, 3 do
      comm:reset_counters()
      local request = comm:all_reduce(x, { async = true })
      same_bits(compute_until(body, "all_reduce", 4 * count), want)
      same_bits(request:wait(), sum)
    end
  end)
end)
