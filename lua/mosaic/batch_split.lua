--- From a share of the rows to a share of a batch axis, and back.
--
--   local q, k, v, plan = batch_split.scatter(comm, q, k, v, plan, axis)
--   local out, lse = strategy.run(inner, plan.comm, q, k, v, plan)
--   out, lse = batch_split.collect(comm, out, lse, plan)
--
-- scatter gives this rank its entries of the axis (-4 or -5) with the rows of all ranks; with fewer entries
-- than ranks some have none. Keys that no query sees stay where they are. The plan is that of an inner
-- strategy over this rank alone. All of it is differentiable.
local comms = require "mosaic.comm"
local exchange = require "mosaic.exchange"
local mask_rows = require "mosaic.mask_rows"
local partition = require "mosaic.partition"
local visibility = require "mosaic.visibility"
local wire = require "mosaic.wire"

local batch_split = {}

--- Where this rank's entries lie in the whole: batch_from, for one or two batch axes.
local function place_of(plan, axis, first, axes)
  local from = plan.batch_from or {}
  local place = { from[#from - 1] or 1, from[#from] or 1 }
  local at = axis == -4 and 2 or 1
  place[at] = place[at] + first - 1
  return axes == 2 and place or { place[2] }
end

--- q, k, v and the plan for this rank's entries.
function batch_split.scatter(comm, q, k, v, plan, axis)
  local part = partition.new { rows = q:size(axis), ranks = comm.size }
  local split = { axis = axis, parts = part:row_counts(), rows = plan.queries:row_counts() }
  local keys, ranges = visibility.seen_keys(plan.mask, plan.queries, plan.keys)
  local function move_keys(x)
    x = x:narrow(-2, unpack(ranges[comm.rank + 1]))
    return exchange.to_parts(comm, x, axis, split.parts, keys:row_counts(), plan.wire)
  end
  local queries, moved_k, moved_v = exchange.to_parts(comm, q, axis, split.parts, split.rows), move_keys(k),
    move_keys(v)
  local everyone = {}
  for rank = 0, comm.size - 1 do everyone[rank + 1] = rank end
  return queries:wait(), moved_k:wait(), moved_v:wait(), plan:with {
    comm = comms.alone(), queries = plan.queries:united { everyone }, keys = keys:united { everyone },
    mask = mask_rows.split(comm, plan.mask, split.rows, axis, split.parts), split = split,
    batch_from = place_of(plan, axis, part:pieces(comm.rank)[1][1], q.ndim - 3),
    batch_total = plan.batch_total or q:size(-4),
  }
end

--- out and lse of this rank's entries -> of this rank's rows.
function batch_split.collect(comm, out, lse, plan)
  local split = plan.split
  return exchange.results_to_rows(comm, out, lse, split.axis, split.parts, split.rows)
end

--- Bytes that this rank sends for both; size: the entries of the axis.
function batch_split.volume(plan, sizes, axis, size)
  local rank, queries = plan.comm.rank, plan.queries:row_counts()
  local parts = partition.new({ rows = size, ranks = plan.comm.size }):row_counts()
  local keys = visibility.seen_keys(plan.mask, plan.queries, plan.keys)
  local own, others, total = parts[rank + 1], size - parts[rank + 1], 0
  for other, count in ipairs(queries) do
    if other - 1 ~= rank then total = total + count * own * sizes.heads * (sizes.d * sizes.out_bytes + 8) end
  end
  total = total + others * (queries[rank + 1] * sizes.heads * sizes.d * sizes.bytes
    + 2 * keys:count(rank) * sizes.kv_heads * wire.bytes(plan.wire, sizes.d, sizes.bytes))
  return sizes.batch / math.max(size, 1) * total + mask_rows.bytes(plan.mask, rank, queries, axis, parts)
end

return batch_split
