--- Partial results (out, lse) of all ranks become the whole one on every rank, in log2(p) rounds.
--
-- In round i a rank exchanges what it has with the one whose number differs in bit i, and both merge,
-- the lower rank's part first, so that all end up with the same bits even where a device fuses products
-- and sums. Ranks beyond the largest power of two (p = 2^i + extra) first give theirs to the rank 2^i below
-- and get the result in the end.
-- With S bytes of out and lse, a rank sends log2(p) S when p is a power of two; else the last `extra`
-- ranks send S, the first `extra` ones (i + 1) S and those between i S. To gather all parts on every
-- rank would take (p - 1) S.
local attention = require "mosaic.attention"

--- Sends (out, lse) to rank `to` while receiving the same from rank `from` (nil: neither).
local function exchange(comm, out, lse, to, from)
  local part = comm:sendrecv(out, to, from, nil, { async = true })
  local part_lse = comm:sendrecv(lse, to, from, nil, { async = true })
  return part:wait(), part_lse:wait()
end

local function merged(out, lse, part, part_lse, theirs_first)
  if theirs_first then return attention.merge_(part, part_lse, out, lse) end
  return attention.merge_(out, lse, part, part_lse)
end

return function(comm, out, lse)
  local core = 1 -- the largest power of two that is at most p
  while core * 2 <= comm.size do core = core * 2 end
  if comm.rank >= core then
    exchange(comm, out, lse, comm.rank - core, nil)
    return exchange(comm, out, lse, nil, comm.rank - core)
  end
  local extra = comm.rank + core < comm.size and comm.rank + core
  if extra then out, lse = merged(out, lse, exchange(comm, out, lse, nil, extra)) end
  local bit = 1
  while bit < core do
    local lower = comm.rank % (2 * bit) < bit
    local partner = lower and comm.rank + bit or comm.rank - bit
    local part, part_lse = exchange(comm, out, lse, partner, partner)
    out, lse = merged(out, lse, part, part_lse, not lower)
    bit = 2 * bit
  end
  if extra then exchange(comm, out, lse, extra, nil) end
  return out, lse
end
