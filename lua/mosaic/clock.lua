--- Seconds on a clock that never goes back: `local start = mosaic.clock()`. Only differences mean anything.
local ffi = require "ffi"

-- A name of its own: others may declare clock_gettime with a struct of theirs.
ffi.cdef [[
struct mosaic_time { long seconds, nanoseconds; };
int mosaic_clock_gettime(int clock, struct mosaic_time *time) __asm__("clock_gettime");
]]

local MONOTONIC = 1
local time = ffi.new "struct mosaic_time"

return function()
  ffi.C.mosaic_clock_gettime(MONOTONIC, time)
  return tonumber(time.seconds) + tonumber(time.nanoseconds) * 1e-9
end
