--- How many pairs (batch entry, head, query, key) this rank's attention has worked on.
--
-- forward and backward count the pairs that masks let through: what the mathematics asks for, so that
-- balance between ranks does not depend on kernels. forward_tiles and backward_tiles count all pairs of
-- the tiles that could not be skipped: what was paid for.
local ffi = require "ffi"
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local state = require "mosaic.state"

local work = {}

local before, after = ffi.new "mosaic_attention_work", ffi.new "mosaic_attention_work"

--- This rank's counts since it began or work.reset.
function work.read()
  local counts = {}
  for name, pairs_so_far in pairs(state.current.work) do counts[name] = pairs_so_far end
  return counts
end

function work.reset()
  for name in pairs(state.current.work) do state.current.work[name] = 0 end
end

--- check.call of a function of attention, counted as `direction`.
function work.call(direction, name, ...)
  C.mosaic_attention_work_read(before)
  check.call(name, ...)
  C.mosaic_attention_work_read(after)
  local counts, tiles = state.current.work, direction .. "_tiles"
  counts[direction] = counts[direction] + tonumber(after.visible - before.visible)
  counts[tiles] = counts[tiles] + tonumber(after.computed - before.computed)
end

return work
