--- What happened when, as a file for ui.perfetto.dev and chrome://tracing.
--
--   mosaic-lua -n 2 --trace out.json train.lua              all that the ranks do
--   mosaic.trace("out.json", function() step() end)         a part of it; every rank calls it
--   mosaic.trace.span("forward", function() ... end)        a span of one's own; nothing without a trace
--
-- A process for each rank, in it a row "host" (spans, waiting, and what a device is asked for), one for the
-- operations of each device, and as many rows "communication" as messages are under way at a time. Times are
-- microseconds since the trace began on all ranks; a device's are its own. The clocks of machines are as
-- near as a barrier brings them.
--
-- Of a job that fails, too, there is what each rank did until then; where the user's own mpirun started it,
-- `mosaic-lua trace out.json` puts it together.
local ffi = require "ffi"
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local comms = require "mosaic.comm"
local create = require "mosaic.tensor.create"
local span = require "mosaic.span"
local state = require "mosaic.state"
local timeline = require "mosaic.timeline"

local trace = {}

local listening = 0 -- virtual ranks share the process's events

--- Runs body(...) as a span of the host's row; returns its results.
function trace.span(name, body, ...)
  check.kind("trace.span", "the name", name, "string")
  check.callable("trace.span", "the body", body)
  if not span.wanted() then return body(...) end
  return span.run(name, nil, body, ...)
end

--- The moment on this rank's clock that is 0 on all ranks. Those of a machine share a clock.
local function common_zero(comm)
  comm:nodes()
  comm:barrier()
  local own, zero = C.mosaic_trace_clock(), math.huge
  local times = comm:all_gather_list { math.floor(own * 1e6) }
  for _, node in ipairs(comm:nodes()) do
    local earliest, mine = math.huge, false
    for _, rank in ipairs(node) do
      earliest, mine = math.min(earliest, times[rank + 1][1]), mine or rank == comm.rank
    end
    if mine then zero = earliest end
  end
  return zero
end

--- All ranks' texts on rank 0, one after the other.
local function gather(comm, text)
  if comm.size == 1 then return text end
  local bytes = create.empty { #text, dtype = "u8", device = "cpu" }
  check.call("mosaic_tensor_write_bytes", bytes.c, text, #text)
  local all = comm:gather(bytes, 1, 0)
  local count = all:numel()
  local buffer = ffi.new("uint8_t[?]", count)
  check.call("mosaic_tensor_read_bytes", buffer, all.c, count)
  return ffi.string(buffer, count)
end

local function warn_of_dropped(rank)
  local dropped = tonumber(C.mosaic_trace_dropped())
  if dropped == 0 then return end
  io.stderr:write(("mosaic: the trace of rank %d lacks %d events, for which there was no room\n"):format(rank,
    dropped))
end

local open = {} -- this process's traces, each of a rank: { path, comm, account, first, zero, kept, text }

--- What a rank did until this is first asked.
local function text_of(one)
  if one.text then return one.text end
  listening = listening - 1
  if listening == 0 then C.mosaic_trace_stop() end
  local stopped = C.mosaic_trace_clock() * 1e6
  warn_of_dropped(one.comm.rank)
  one.text = timeline.part(one.comm.rank, timeline.events(one.first, one.account), one.zero, stopped)
  return one.text
end

local function forget(i)
  local one = table.remove(open, i)
  one.ended = true
  if one.kept then os.remove(one.kept) end
end

--- Others may not come any more: writes what this process knows of all its ranks.
local function leave(path, comm)
  local parts = {}
  for i = #open, 1, -1 do
    if open[i].path == path then
      table.insert(parts, 1, text_of(open[i]))
      forget(i)
    end
  end
  local text = table.concat(parts, ",\n")
  timeline.write(comm.transport == "mpi" and timeline.part_path(path, comm.rank) or path, text)
end

--- The same of all traces.
function trace.leave()
  while open[1] do leave(open[1].path, open[1].comm) end
end

local function finish(one, leaves)
  if one.ended then return end
  if leaves then return leave(one.path, one.comm) end
  local comm = one.comm
  local all = gather(comm, text_of(one) .. (comm.rank < comm.size - 1 and ",\n" or ""))
  if comm.rank == 0 then timeline.write(one.path, all) end
  comm:barrier() -- until then a rank's own part may be all that there is
  for i = #open, 1, -1 do
    if open[i] == one then forget(i) end
  end
end

--- Begins a trace on all ranks, and returns the function that ends it: called on all ranks it writes `path`;
-- with true, when this rank leaves and others may not come, this process's part alone. A second call does
-- nothing. Ranks that are processes keep what they did in files of their own, for mosaic.timeline to join
-- where they are ended from outside.
function trace.start(path)
  check.kind("trace", "the file", path, "string")
  local comm = comms.world()
  comm:together("trace", function()
    if comm.rank == 0 then timeline.write(path, "") end
    return {}
  end)
  local one = { path = path, comm = comm, account = state.current.account, zero = common_zero(comm) }
  if listening == 0 then
    local kept = comm.transport == "mpi" and timeline.kept_path(path, comm.rank)
    if kept and C.mosaic_trace_start(kept, one.zero) == C.MOSAIC_OK then
      one.kept = kept
    else -- a node may not have the folder
      check.call("mosaic_trace_start", nil, one.zero)
    end
  end
  listening, one.first = listening + 1, tonumber(C.mosaic_trace_count())
  open[#open + 1] = one
  return function(leaves) finish(one, leaves) end
end

return setmetatable(trace, {
  --- Traces body(...) into a file; returns its results. Every rank calls it.
  __call = function(_, path, body, ...)
    check.callable("trace", "the body", body)
    local done = trace.start(path)
    return (function(ok, ...)
      done(not ok)
      if not ok then error((...), 0) end
      return ...
    end)(pcall(body, ...))
  end,
})
