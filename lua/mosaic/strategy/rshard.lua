--- Compute ranks own rows, attention ranks work on pairs of row sets: no rank needs to see neighbouring rows.
--
-- Compute ranks own the rows (any interleaving) and do all that is done row by row; attention node (j,l) of
-- beta x beta gets the queries of set S_j and the keys and values of S_l, and returns its partial result, out
-- and lse, to the owners, who merge over l. All pairs: dense attention, exact. Each row goes to the nodes of
-- its set: with all nodes on ranks of their own n E b beta for Q, as much (f32) and 8 n H beta for partials,
-- 2 n Hkv d b beta for K/V; less where a rank is several nodes, which it then gets the rows for once.
--   beta        number of sets, dealt row by row (default: the square root of the attention ranks); or
--   tokens      { cluster = c, period = p, group = m }: sets as mosaic.rshard.sets deals them
--   attention   the sets as lists of rows, or { q = lists, k = lists }
--   compute     the first so many ranks own rows, the others are attention nodes only (they bring no rows);
--               default all ranks, which then are attention nodes too
--   ranks       the rank of node (1,1), (1,2), ...; default: dealt evenly
-- Which sets tell what: mosaic.rshard.report.
local attention = require "mosaic.attention"
local comms = require "mosaic.comm"
local create = require "mosaic.tensor.create"
local cut_sets = require "mosaic.rshard.cut"
local Deal = require "mosaic.rshard.deal"
local cat = require "mosaic.tensor.join".cat
local mask_rows = require "mosaic.mask_rows"
local move = require "mosaic.move"
local Placement = require "mosaic.placement"
local roles = require "mosaic.rshard.roles"
local wire = require "mosaic.wire"

--- The sets of queries and keys, and the rank of each pair.
local function cut(plan)
  local o, size = plan.options, plan.comm.size
  local compute = o.compute or size
  local queries, keys = cut_sets(plan, o, compute < size and size - compute or size)
  return queries, keys, roles.nodes(size, queries.ranks, compute, o.ranks)
end

--- out, lse of one query set against this rank's share of the keys.
local function work(block, q, k, v, plan)
  local out, lse
  q = q:narrow(-2, block.first, block.count)
  plan = plan:with {
    comm = comms.alone(), queries = Placement { block.pieces },
    mask = mask_rows.part(plan.mask, -2, block.first, block.count),
  }
  for _, run in ipairs(block.runs) do
    local o, l = attention.sdpa(q, k:narrow(-2, run.first, run.count), v:narrow(-2, run.first, run.count),
      plan:with { keys = Placement { run.pieces } }:block(0))
    if out then out, lse = attention.merge(out, lse, o, l) else out, lse = o, l end
  end
  return out, lse
end

--- Partial results of all of this rank's query sets, one after the other.
local function work_all(dealt, q, k, v, plan)
  local outs, lses = {}, {}
  for i, block in ipairs(dealt.blocks) do outs[i], lses[i] = work(block, q, k, v, plan) end
  return cat(outs, -2), cat(lses, -1)
end

--- The owner's result from all partial results of its rows.
local function merge(out, lse, dealt)
  local outs, lses, at = {}, {}, 1
  for i, share in ipairs(dealt.shares) do
    for part = 1, share.parts do
      local o, l = out:narrow(-2, at, share.count), lse:narrow(-1, at, share.count)
      if part > 1 then o, l = attention.merge(outs[i], lses[i], o, l) end
      outs[i], lses[i], at = o, l, at + share.count
    end
  end
  if #outs == 0 then return out, lse end
  local order = create.tensor(dealt.order, { dtype = "i64" })
  return cat(outs, -2):index_select(-2, order), cat(lses, -1):index_select(-1, order)
end

local function attend(comm, q, k, v, plan)
  local dealt = Deal(plan, cut(plan))
  local function queries(x) return move(comm, x, -2, plan.queries, dealt.queries) end
  local function keys(x) return move(comm, x, -2, plan.keys, dealt.keys, plan.wire) end
  local mask = mask_rows.move(plan.mask, q:size(-2), queries)
  local out, lse = work_all(dealt, queries(q), keys(k), keys(v), plan:with { mask = mask })
  out, lse = move(comm, out, -2, dealt.have, dealt.want), move(comm, lse, -1, dealt.have, dealt.want)
  return merge(out, lse, dealt)
end

local function volume(plan, sizes)
  local dealt, rank = Deal(plan, cut(plan)), plan.comm.rank
  local function rows(have, want) return sizes.batch * move.rows_sent(rank, have, want) end
  local moved = rows(plan.queries, dealt.queries)
  return moved * sizes.heads * sizes.d * sizes.bytes + moved / sizes.batch * mask_rows.row_bytes(plan.mask)
    + rows(plan.keys, dealt.keys) * 2 * sizes.kv_heads * wire.bytes(plan.wire, sizes.d, sizes.bytes)
    + rows(dealt.have, dealt.want) * sizes.heads * (sizes.d * sizes.out_bytes + 8)
end

return {
  options = { "beta", "tokens", "attention", "compute", "ranks" },
  attend = attend,
  volume = volume,

  check = function(plan)
    roles.check(plan)
    cut(plan)
  end,
}
