--- Compute ranks own rows, attention ranks work on pairs of row sets: who computes need not see neighbours.
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
local blocks = require "mosaic.rshard.blocks"
local create = require "mosaic.tensor.create"
local cut_sets = require "mosaic.rshard.cut"
local Deal = require "mosaic.rshard.deal"
local cat = require("mosaic.tensor.join").cat
local mask_rows = require "mosaic.mask_rows"
local move = require "mosaic.move"
local partial = require "mosaic.partial"
local roles = require "mosaic.rshard.roles"
local wire = require "mosaic.wire"

--- The sets of queries and keys, and the rank of each pair.
local function cut(plan)
  local o, size = plan.options, plan.comm.size
  local compute = o.compute or size
  local queries, keys = cut_sets(plan, o, compute < size and size - compute or size)
  return queries, keys, roles.nodes(size, queries.ranks, compute, o.ranks)
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
  local order = create.tensor(dealt.order, { dtype = "i64", device = out.device })
  return cat(outs, -2):index_select(-2, order), cat(lses, -1):index_select(-1, order)
end

--- The deal, and what moves queries and keys to the ranks that work on them.
local function arrange(comm, plan)
  local dealt = Deal(plan, cut(plan))
  local function queries(x, axis) return move(comm, x, axis or -2, plan.queries, dealt.queries) end
  local function keys(x) return move(comm, x, -2, plan.keys, dealt.keys, plan.wire) end
  local function mask_of(mask) return mask_rows.move(mask, plan.queries:count(comm.rank), queries) end
  return dealt, queries, keys, mask_of
end

local function forward(comm, q, k, v, plan)
  local dealt, queries, keys, mask_of = arrange(comm, plan)
  local there = plan:with { mask = mask_of(plan.mask) }
  local out, lse = blocks.forward(dealt.blocks, queries(q), keys(k), keys(v), there)
  out, lse = move(comm, out, -2, dealt.have, dealt.want), move(comm, lse, -1, dealt.have, dealt.want)
  return merge(out, lse, dealt)
end

local function backward(comm, q, k, v, plan, g)
  local dealt, queries, keys, mask_of = arrange(comm, plan)
  local mask, bias_home = mask_rows.again(plan.mask, g.dbias ~= nil, mask_of)
  local there = queries(q)
  local moved = { dout = queries(g.dout), lse = queries(g.lse, -1), delta = queries(g.delta, -1) }
  local sums = partial.moved_sums(moved, there, mask, g.dq.dtype)
  local dk, dv = blocks.backward(dealt.blocks, there, keys(k), keys(v), plan:with { mask = mask }, sums)
  g.dq:add_(move.back(comm, sums.dq, -2, plan.queries, dealt.queries))
  local dbias = sums.dbias and bias_home(sums.dbias)
  if dbias then g.dbias:add_(dbias) end
  local function home(x) return move.back(comm, x, -2, plan.keys, dealt.keys) end
  return home(dk), home(dv)
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
  attend = partial.recorded("rshard", forward, backward),
  backward = backward,
  volume = volume,

  check = function(plan)
    roles.check(plan)
    cut(plan)
  end,
}
