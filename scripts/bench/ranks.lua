--- Ranks on one machine: `mosaic-lua -n P scripts/bench/ranks.lua WHAT ROWS [brief]`: rows of JSON.
-- WHAT: speed (two ranks over one, beside what two processes that share nothing get from this machine),
-- memory (peak of a ring rank), overlap (a ring step of two ranks on the wire that MOSAIC_PACE describes, or
-- on a link of GBIT Gbit/s: slow-link), computing (the slower rank's attention, each by itself), ring (the
-- time of a ring, of ROWS rows in all). brief: fewer rounds.
-- Wall time, the fastest of several, taken in turns: cores may be shared with others. Overlap has medians:
-- now and then an exchange is lucky, and the fastest ones of three things would not belong together.
package.path = "scripts/bench/?.lua;" .. package.path
local bench = require "bench"
local json = require "mosaic.data.json"
local mosaic = require "mosaic"

local HEADS, SIZE = 4, 24
local comm = mosaic.comm.world()
local brief = arg[3] == "brief"

local function noise(rows) return mosaic.randn { 1, HEADS, rows, SIZE } end
local function local_attention(x) return mosaic.attention.forward(x.q, x.k, x.v, {}) end

local function ring(x)
  return mosaic.no_grad(mosaic.attend, x.q, x.k, x.v, { strategy = "ring", comm = comm })
end

--- The other one of two ranks.
local function other() return 1 - comm.rank end

--- Seconds until all ranks have done `body`; nil: this rank waits meanwhile, without a core of its own.
local function time(body)
  local token = mosaic.zeros { 1 }
  comm:barrier()
  local start = bench.wall()
  if body then body() end
  if comm.size == 2 then comm:sendrecv(token, other(), other()) else comm:barrier() end
  return bench.wall() - start
end

--- What `choose` makes of the seconds of some rounds, in each of which every one of `bodies` has its turn.
local function of_rounds(choose, rounds, bodies)
  local seconds, chosen = {}, {}
  for i in ipairs(bodies) do seconds[i] = {} end
  for round = 0, brief and 2 or rounds do
    for i, body in ipairs(bodies) do
      seconds[i][round] = time(body ~= "wait" and body or nil) -- the first one does not count
    end
  end
  for i, list in ipairs(seconds) do chosen[i] = choose(list) end
  return unpack(chosen)
end

local function fastest(list) return math.min(unpack(list)) end
local function best_of(rounds, bodies) return of_rounds(fastest, rounds, bodies) end

local function row(fields)
  if comm.rank == 0 then print(json.encode(fields)) end
end

local function inputs(rows) return { q = noise(rows), k = noise(rows), v = noise(rows) } end

local what = {}

function what.speed(rows)
  local own, whole = inputs(rows), inputs(comm.rank == 0 and 2 * rows or 1)
  local alone, both, one, two = best_of(5, {
    comm.rank == 0 and function() local_attention(own) end or "wait",
    function() local_attention(own) end,
    comm.rank == 0 and function() local_attention(whole) end or "wait",
    function() ring(own) end,
  })
  local possible = 2 * alone / both
  row {
    name = ("two ranks over one, ring, N = %d"):format(2 * rows), value = one / two, unit = "x",
    peer = "two processes that share nothing", peer_value = possible, ratio = one / two / possible,
  }
end

function what.memory(rows)
  ring(inputs(rows)) -- from here on large tensors lie where neighbours can read them
  mosaic.collect()
  local own = inputs(rows)
  mosaic.reset_peak_memory()
  local out, lse = ring(own)
  local unit = 8 * rows * HEADS * SIZE * 4
  row {
    name = ("most bytes that a ring rank holds, n = %d"):format(rows), variant = "p = " .. comm.size,
    unit = "x 8 n E b", value = mosaic.memory().peak_bytes / unit, rows = out:size(-2) + lse:size(-1),
  }
end

--- A step attends to one block while the next one comes; in the last step of the ring none does.
function what.overlap(rows)
  local own = inputs(rows)
  local function attend_twice()
    local out, lse = local_attention(own)
    mosaic.attention.merge_(out, lse, local_attention(own))
  end
  local function exchange()
    local requests = {}
    for i, x in ipairs { own.k, own.v } do
      requests[i] = comm:sendrecv(x, other(), other(), nil, { tag = i, async = true })
    end
    for _, request in ipairs(requests) do request:wait() end
  end
  for _ = 1, 100 do ring(inputs(8)) end -- until LuaJIT has compiled what comes before the first message
  local both, wire, whole = of_rounds(bench.median, 15, { attend_twice, exchange, function() ring(own) end })
  local step, gbit = both / 2, os.getenv "GBIT" or (os.getenv "MOSAIC_PACE" or ""):match ":(.*)$"
  row {
    name = "ring step beside the longer of computing and sending",
    variant = gbit and "Gbit/s = " .. gbit or "this link's", value = (whole - step) * 1e3, unit = "ms",
    ratio = math.max(step, wire) / (whole - step),
    rivals = { { name = "computing", value = step * 1e3 }, { name = "sending", value = wire * 1e3 } },
  }
end

--- Without a message until all is over: what else is on the link does not delay it.
function what.computing(rows)
  local own, seconds = inputs(rows), {}
  for round = 0, brief and 2 or 31 do
    seconds[round] = bench.time(function() local_attention(own) end, bench.wall)
  end
  local slowest = comm:all_reduce(mosaic.tensor { bench.median(seconds) }, { op = "max" })
  row {
    name = "attention of the slower rank", unit = "ms", value = slowest:item() * 1e3,
    variant = os.getenv "BESIDE" and "beside a transfer that fills the link" or "alone",
  }
end

function what.ring(rows)
  local own = inputs(rows / comm.size)
  local seconds = best_of(5, { function() ring(own) end })
  row { name = ("ring, N = %d"):format(rows), variant = "p = " .. comm.size, value = seconds, unit = "s" }
end

what[arg[1]](tonumber(arg[2]))
