--- What the benchmarks share: the clock, the peer process, rows, and the table at the end.
local ffi = require "ffi"
local json = require "mosaic.data.json"

ffi.cdef [[
  struct mosaic_bench_timespec { long seconds, nanoseconds; };
  int clock_gettime(int clock, struct mosaic_bench_timespec *now);
]]

local bench = { rows = {} }

local MONOTONIC, PROCESS_CPU = 1, 2

local function read_clock(clock)
  local t = ffi.new "struct mosaic_bench_timespec"
  ffi.C.clock_gettime(clock, t)
  return tonumber(t.seconds) + tonumber(t.nanoseconds) * 1e-9
end

--- CPU seconds of this process.
function bench.now() return read_clock(PROCESS_CPU) end

--- Seconds that have passed for everybody.
function bench.wall() return read_clock(MONOTONIC) end

--- CPU seconds of one call, or seconds of another clock.
function bench.time(body, clock)
  clock = clock or bench.now
  local start = clock()
  body()
  return clock() - start
end

function bench.median(values)
  local sorted = { unpack(values) }
  table.sort(sorted)
  local middle = math.floor((#sorted + 1) / 2)
  return #sorted % 2 == 1 and sorted[middle] or (sorted[middle] + sorted[middle + 1]) / 2
end

-- ---- the peer -------------------------------------------------------------------------------

local Peer = {}
Peer.__index = Peer

--- What the peer answers to a line.
function Peer:ask(line)
  self.requests:write(line, "\n")
  self.requests:flush()
  local answer = self.answers:read "*l"
  return answer or error("the peer has ended; the line was: " .. line)
end

--- CPU seconds of one repetition of a case, such as "forward 24 4096", and those that passed.
function Peer:time(case)
  local answer = self:ask(case)
  local cpu, wall = answer:match "^(%S+) (%S+)$"
  return assert(tonumber(cpu), "the peer gave no time for " .. case), tonumber(wall)
end

--- Starts a Python program beside this process; nil where there is no such Python, or it ends at once.
function bench.start_peer(python, script)
  if os.execute(("command -v %s >/dev/null"):format(python)) ~= 0 then return nil end
  local pipe = os.tmpname()
  os.remove(pipe)
  assert(os.execute("mkfifo " .. pipe) == 0, "cannot make a pipe at " .. pipe)
  local requests = io.popen(("exec %s %s >%s"):format(python, script, pipe), "w")
  local answers = assert(io.open(pipe, "r"))
  os.remove(pipe)
  local name = answers:read "*l"
  return name and setmetatable({ requests = requests, answers = answers, name = name }, Peer)
end

-- ---- rows -----------------------------------------------------------------------------------

--- Adds a row: name, value, unit, and optionally peer, peer_value, and ratio (> 1: we are better).
function bench.row(row)
  bench.rows[#bench.rows + 1] = row
  io.write(("%-44s %10.4g %-10s"):format(row.name, row.value, row.unit))
  if row.peer_value then
    io.write((" %-22s %10.4g   ratio %.2f"):format(row.peer, row.peer_value, row.ratio))
  end
  io.write "\n"
  io.flush()
end

--- Times our body and the peer's case in turns; adds a row of medians in seconds.
-- options: name, body, peer, case, repetitions, scale(seconds) -> value, unit, higher (is better);
-- wall: time that passes instead of CPU time, for more threads than one.
function bench.compare(options)
  local ours, theirs = {}, {}
  options.body()
  for i = 1, options.repetitions or 7 do
    ours[i] = bench.time(options.body, options.wall and bench.wall)
    if options.peer then theirs[i] = select(options.wall and 2 or 1, options.peer:time(options.case)) end
  end
  local scale = options.scale or function(seconds) return seconds end
  local row = { name = options.name, value = scale(bench.median(ours)), unit = options.unit or "s" }
  if options.peer then
    row.peer, row.peer_value = options.peer.name, scale(bench.median(theirs))
    row.ratio = bench.median(theirs) / bench.median(ours)
  end
  bench.row(row)
  return bench.median(ours)
end

--- Writes all rows as JSON.
function bench.save(path)
  local file = assert(io.open(path, "w"))
  file:write(json.encode(bench.rows), "\n")
  file:close()
  io.write("wrote ", path, "\n")
end

return bench
