--- Lua's collector cannot see the bytes behind a tensor, so this decides when it must run.
-- A full collection starts when tensors hold more than `limit` bytes; the limit then becomes
-- twice what survived, and never less than 64 MiB.
local C = require "mosaic.ffi"

local FLOOR = 64 * 2 ^ 20

local heap = { limit = FLOOR }

--- Frees every tensor that is no longer reachable. Takes milliseconds.
function heap.collect()
  collectgarbage()
  collectgarbage() -- the second pass frees what the first one's finalizers let go
  heap.limit = math.max(FLOOR, 2 * tonumber(C.mosaic_memory_live()))
end

--- Called after every new tensor.
function heap.poll()
  if C.mosaic_memory_live() > heap.limit then heap.collect() end
end

return heap
