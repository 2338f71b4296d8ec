--- A communicator: one rank's end of a group of ranks. Ranks count from 0, as everywhere in MPI.
--
--   comm.rank, comm.size, comm.transport    transport is "virtual" or "mpi"
--   comm:counters "all_reduce"              { calls, bytes_sent, bytes_received } of this communicator
--   comm:counters()                         the same for every kind of operation that was used
--   comm:reset_counters()
--   comm:bytes_sent()                       payload that this rank sent, in all communicators of its world
--
--   comm:poll()                             messages make progress; how many operations are under way
--
-- Every operation takes `async = true` in its options and then returns a request, whose :wait() gives
-- the result; the tensors must not be written before that. Call comm:poll() between the pieces of a
-- long computation: messages do not move by themselves. All ranks of a communicator must start the same
-- collectives in the same order (also in backward: equal programs do); they may wait in any order.
local ffi = require "ffi"
local C = require "mosaic.ffi"
local check = require "mosaic.check"

local Comm = { class_name = "Comm" }
Comm.__index = Comm

local KINDS, NAMES = {}, {}
for kind = 0, C.MOSAIC_COMM_KINDS - 1 do
  local name = ffi.string(C.mosaic_comm_kind_name(kind))
  KINDS[name], NAMES[kind + 1] = kind, name
end

--- Takes over a C handle; `host` is the virtual rank that it belongs to (see virtual.lua).
function Comm.wrap(handle, host)
  return setmetatable({
    handle = ffi.gc(handle, C.mosaic_comm_release),
    host = host,
    rank = C.mosaic_comm_rank(handle),
    size = C.mosaic_comm_size(handle),
    transport = ffi.string(C.mosaic_comm_transport(handle)),
  }, Comm)
end

function Comm:__tostring()
  return ("comm: rank %d of %d (%s)"):format(self.rank, self.size, self.transport)
end

local function read_counters(handle, kind)
  local c = ffi.new "mosaic_comm_counters"
  C.mosaic_comm_counters_read(c, handle, kind)
  return {
    calls = tonumber(c.calls),
    bytes_sent = tonumber(c.bytes_sent),
    bytes_received = tonumber(c.bytes_received),
  }
end

--- Calls and payload bytes of one kind of operation, or a table of them by name.
function Comm:counters(kind)
  if kind then
    return read_counters(self.handle, KINDS[check.one_of("counters", "operation", kind, NAMES)])
  end
  local all = {}
  for name, number in pairs(KINDS) do
    local counters = read_counters(self.handle, number)
    if counters.calls > 0 then all[name] = counters end
  end
  return all
end

--- Payload bytes that this rank has sent to others, in all communicators of its world.
function Comm:bytes_sent()
  return tonumber(C.mosaic_comm_bytes_sent(self.handle))
end

function Comm:reset_counters()
  C.mosaic_comm_counters_reset(self.handle)
end

--- Lets every operation of this rank make progress; returns how many are still under way.
function Comm:poll()
  return C.mosaic_comm_poll(self.handle)
end

--- Fails unless the value is a communicator.
function Comm.check_comm(where, value)
  if getmetatable(value) == Comm then return value end
  check.fail("%s: comm must be a communicator, such as mosaic.comm.world(), got %s", where, check.show(value))
end

--- A rank of this communicator.
function Comm:check_rank(where, what, rank)
  if type(rank) ~= "number" or rank % 1 ~= 0 or rank < 0 or rank >= self.size then
    check.fail("%s: %s must be a rank, 0..%d, got %s", where, what, self.size - 1, check.show(rank))
  end
  return rank
end

--- One size per rank as a C array.
function Comm:check_sizes(where, what, sizes)
  if type(sizes) ~= "table" or #sizes ~= self.size then
    check.fail("%s: %s must be a list of %d sizes, one per rank, got %s", where, what, self.size,
      type(sizes) == "table" and ("%d of them"):format(#sizes) or check.show(sizes))
  end
  local array = ffi.new("int64_t[?]", self.size)
  for i = 1, self.size do
    array[i - 1] = check.integer(where, ("%s[%d]"):format(what, i), sizes[i], 0)
  end
  return array
end

return Comm
