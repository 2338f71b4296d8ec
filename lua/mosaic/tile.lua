--- A mesh of ranks in rows and columns; this rank's tile: its row's queries against its column's keys.
--
-- Queries are gathered within the row, keys and values travel within the column (rotate.lua); what the tile
-- says about a rank's queries goes back within the row and is merged there.
local attention = require "mosaic.attention"
local class = require "mosaic.class"
local mask_rows = require "mosaic.mask_rows"
local rotate = require "mosaic.rotate"
local traffic = require "mosaic.traffic"

local Tile = class("Tile")

--- The plan within a column, where a rank has its row's queries and its own keys; how many queries the ranks
-- of the row have.
local function plan_of(plan, column, columns)
  local rows, column_ranks = {}, {}
  for i = 0, column.size - 1 do
    rows[i + 1] = {}
    for j = 0, columns - 1 do rows[i + 1][j + 1] = i * columns + j end
    column_ranks[i + 1] = i * columns + plan.comm.rank % columns
  end
  return plan:with {
    comm = column, queries = plan.queries:united(rows), keys = plan.keys:only(column_ranks),
  }, plan.queries:only(rows[column.rank + 1]):row_counts()
end

function Tile:init(comm, plan, rows, columns)
  self.row, self.column = comm:grid(rows, columns)
  self.plan, self.query_rows = plan_of(plan, self.column, columns)
end

--- Requests for the row's rows of tensors of queries, along `axis`.
function Tile:gather_queries(axis, ...)
  local requests = {}
  for i = 1, select("#", ...) do
    requests[i] = self.row:all_gather((select(i, ...)), axis, self.query_rows, { async = true })
  end
  return unpack(requests)
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

--- What this rank sends forward.
function Tile.volume(plan, sizes, rows, columns)
  local rank = plan.comm.rank
  local own_plan, queries = plan_of(plan, { rank = math.floor(rank / columns), size = rows }, columns)
  local own, all = queries[rank % columns + 1], 0
  for _, count in ipairs(queries) do all = all + count end
  return traffic.query(sizes) * own * (columns - 1) + traffic.result(sizes) * (all - own)
    + rotate.volume(own_plan.comm, own_plan, sizes) + mask_rows.bytes(plan.mask, rank % columns, queries)
end

return Tile
