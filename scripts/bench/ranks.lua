--- Two ranks on one machine: `mosaic-lua -n 2 scripts/bench/ranks.lua WHAT ROWS`: rows of JSON.
-- WHAT: speed (two ranks over one, beside what two processes that share nothing get from this machine),
-- memory (peak of a ring rank), overlap (a ring step on the wire that MOSAIC_PACE describes).
-- Wall time, the fastest of several, taken in turns: cores may be shared with others.
package.path = "scripts/bench/?.lua;" .. package.path
local bench = require "bench"
local json = require "mosaic.data.json"
local mosaic = require "mosaic"

local HEADS, SIZE = 4, 24
local comm = mosaic.comm.world()
local other = 1 - comm.rank

local function noise(rows) return mosaic.randn { 1, HEADS, rows, SIZE } end
local function local_attention(x) return mosaic.attention.forward(x.q, x.k, x.v, {}) end

local function ring(x)
  return mosaic.no_grad(mosaic.attend, x.q, x.k, x.v, { strategy = "ring", comm = comm })
end

--- Seconds until all ranks have done `body`; nil: this rank waits meanwhile, without a core of its own.
local function time(body)
  local token = mosaic.zeros { 1 }
  comm:barrier()
  local start = bench.wall()
  if body then body() end
  comm:sendrecv(token, other, other)
  return bench.wall() - start
end

--- The fastest of some rounds in each of which every one of `bodies` has its turn.
local function best_of(rounds, bodies)
  local best = {}
  for round = 0, rounds do
    for i, body in ipairs(bodies) do
      local seconds = time(body ~= "wait" and body or nil)
      if round > 0 then best[i] = math.min(best[i] or math.huge, seconds) end
    end
  end
  return unpack(best)
end

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
  row { name = "two processes that share nothing over one", value = 2 * alone / both, unit = "x" }
  row { name = ("ring, two ranks over one, n=%d"):format(rows), value = one / two, unit = "x" }
end

function what.memory(rows)
  ring(inputs(rows)) -- from here on large tensors lie where neighbours can read them
  mosaic.collect()
  local own = inputs(rows)
  mosaic.reset_peak_memory()
  local out, lse = ring(own)
  local unit = 8 * rows * HEADS * SIZE * 4
  row {
    name = ("ring rank's peak memory, p=%d n=%d"):format(comm.size, rows), unit = "x 8 n E b",
    value = mosaic.memory().peak_bytes / unit, rows = out:size(-2) + lse:size(-1),
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
      requests[i] = comm:sendrecv(x, other, other, nil, { tag = i, async = true })
    end
    for _, request in ipairs(requests) do request:wait() end
  end
  local both, wire, whole = best_of(15, { attend_twice, exchange, function() ring(own) end })
  local step, pace = both / 2, os.getenv "MOSAIC_PACE"
  row {
    name = ("ring step at %s, compute %.0f ms, wire %.0f ms"):format(
      pace and pace .. " us:Gbit/s" or "the link's rate", step * 1e3, wire * 1e3),
    value = (whole - step) / math.max(step, wire), unit = "x the longer",
  }
end

what[arg[1]](tonumber(arg[2]))
