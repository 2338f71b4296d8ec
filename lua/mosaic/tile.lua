--- A mesh of ranks in rows and columns; this rank's tile: its row's queries against its column's keys.
--
-- Queries are gathered within the row, keys and values within the column; what the tile says about a rank's
-- queries goes back within the row and is merged there. Keys that no query sees stay where they are.
local attention = require "mosaic.attention"
local class = require "mosaic.class"
local comms = require "mosaic.comm"
local mask_rows = require "mosaic.mask_rows"
local traffic = require "mosaic.traffic"
local visibility = require "mosaic.visibility"

local Tile = class("Tile")

--- The ranks of a rank's row, and those of its column.
local function peers_of(rank, rows, columns)
  local row_ranks, column_ranks = {}, {}
  for j = 0, columns - 1 do row_ranks[j + 1] = rank - rank % columns + j end
  for i = 0, rows - 1 do column_ranks[i + 1] = rank % columns + i * columns end
  return row_ranks, column_ranks
end

function Tile:init(comm, plan, rows, columns)
  local row_ranks, column_ranks = peers_of(comm.rank, rows, columns)
  self.row, self.column = comm:grid(rows, columns)
  local keys, ranges = visibility.seen_keys(plan.mask, plan.queries, plan.keys)
  self.range, self.wire = ranges[comm.rank + 1], plan.wire
  self.query_rows = plan.queries:only(row_ranks):row_counts()
  self.key_rows = keys:only(column_ranks):row_counts()
  self.plan = plan:with {
    comm = comms.alone(), queries = plan.queries:united { row_ranks }, keys = keys:united { column_ranks },
  }
end

--- Requests for the row's rows of tensors of queries, along `axis`.
function Tile:gather_queries(axis, ...)
  local requests = {}
  for i = 1, select("#", ...) do
    requests[i] = self.row:all_gather((select(i, ...)), axis, self.query_rows, { async = true })
  end
  return unpack(requests)
end

--- A request for the column's rows of a tensor of keys.
function Tile:gather_keys(x)
  local seen = x:narrow(-2, unpack(self.range))
  return self.column:all_gather(seen, -2, self.key_rows, { async = true, wire = self.wire })
end

--- What all columns say about this rank's queries, merged from the first column to the last.
function Tile:merge_home(out, lse)
  local own, sizes = self.query_rows[self.row.rank + 1], {}
  for i = 1, self.row.size do sizes[i] = own end
  local function bring(x)
    return self.row:all_to_all(x, {
      split_axis = -2, concat_axis = -2, split_sizes = self.query_rows, concat_sizes = sizes, async = true,
    })
  end
  local outs, lses = bring(out), bring(lse:unsqueeze(-1))
  outs, lses = outs:wait(), lses:wait():squeeze(-1)
  out, lse = outs:narrow(-2, 1, own):clone(), lses:narrow(-1, 1, own):clone()
  for i = 1, self.row.size - 1 do
    attention.merge_(out, lse, outs:narrow(-2, i * own + 1, own), lses:narrow(-1, i * own + 1, own))
  end
  return out, lse
end

--- This rank's part of the gradient of gathered queries, summed over the columns.
function Tile:queries_home(dq) return self.row:reduce_scatter(dq, -2, self.query_rows) end

--- The gradient of this rank's keys (like x) from that of the gathered ones, summed over the rows.
function Tile:keys_home(dk, x)
  local whole = x:zeros_like { dtype = dk.dtype }
  whole:narrow(-2, unpack(self.range)):copy_(self.column:reduce_scatter(dk, -2, self.key_rows))
  return whole
end

--- What this rank sends forward.
function Tile.volume(plan, sizes, rows, columns)
  local rank = plan.comm.rank
  local queries = plan.queries:only((peers_of(rank, rows, columns))):row_counts()
  local _, ranges = visibility.seen_keys(plan.mask, plan.queries, plan.keys)
  local own, all = queries[rank % columns + 1], 0
  for _, count in ipairs(queries) do all = all + count end
  return traffic.query(sizes) * own * (columns - 1) + traffic.result(sizes) * (all - own)
    + traffic.key(sizes, plan.wire) * ranges[rank + 1][2] * (rows - 1)
    + mask_rows.bytes(plan.mask, rank % columns, queries)
end

return Tile
