--- Seconds on a clock that never goes back: `local start = mosaic.clock()`. Only differences mean anything.
local ffi = require "ffi"

ffi.cdef [[
struct mosaic_time { long seconds, nanoseconds; };
int clock_gettime(int clock, struct mosaic_time *time);
]]

local MONOTONIC = 1
local time = ffi.new "struct mosaic_time"

return function()
  ffi.C.clock_gettime(MONOTONIC, time)
  return tonumber(time.seconds) + tonumber(time.nanoseconds) * 1e-9
end
