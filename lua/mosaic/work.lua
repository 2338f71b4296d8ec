--- How many pairs (batch entry, head, query, key) this rank's attention has worked on.
--
-- forward and backward count the pairs that masks let through: what the mathematics asks for, so that
-- balance between ranks does not depend on kernels. forward_tiles and backward_tiles count all pairs of
-- the tiles that could not be skipped: what was paid for.
local ffi = require "ffi"
local check = require "mosaic.check"
local state = require "mosaic.state"

local work = {}

local counts = ffi.new "mosaic_attention_work[2]"

--- This rank's counts since it began or work.reset. Waits for the devices that count.
function work.read()
  check.call("mosaic_attention_work_read", counts, state.current.account)
  local forward, backward = counts[0], counts[1]
  return {
    forward = tonumber(forward.visible), forward_tiles = tonumber(forward.computed),
    backward = tonumber(backward.visible), backward_tiles = tonumber(backward.computed),
  }
end

function work.reset() check.call("mosaic_attention_work_reset", state.current.account) end

return work
