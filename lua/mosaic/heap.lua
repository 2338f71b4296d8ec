--- Lua's collector cannot see the bytes behind a tensor, so this decides when it must run.
-- A full collection starts when tensors hold more than `limit` bytes: twice what survived the last one, but
-- no more than three quarters of what was left of the default device beyond it, and at least 64 MiB beyond.
local ffi = require "ffi"
local C = require "mosaic.ffi"
local state = require "mosaic.state"

local FLOOR, SHARE = 64 * 2 ^ 20, 0.75

local heap = { limit = FLOOR }

local stats = ffi.new "mosaic_memory_stats"

--- Bytes that the default device can still give to tensors.
local function room()
  if C.mosaic_memory_read(stats, state.current.device) ~= C.MOSAIC_OK then return 0 end
  return tonumber(stats.limit_bytes - stats.live_bytes)
end

--- Frees every tensor that is no longer reachable. Takes milliseconds.
function heap.collect()
  collectgarbage()
  collectgarbage() -- the second pass frees what the first one's finalizers let go
  local live = tonumber(C.mosaic_memory_live())
  heap.limit = live + math.max(FLOOR, math.min(live, SHARE * room()))
end

--- Called after every new tensor.
function heap.poll()
  if C.mosaic_memory_live() > heap.limit then heap.collect() end
end

return heap
