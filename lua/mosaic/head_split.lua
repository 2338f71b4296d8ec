--- From a share of the rows to a share of the heads, and back: what "heads" and its compositions do.
--
--   local q, k, v, plan = head_split.scatter(comm, q, k, v, plan, options)
--   local out, lse = strategy.run(inner, plan.comm, q, k, v, plan)
--   out, lse = head_split.collect(comm, out, lse, plan)
--
-- scatter gives this rank its query heads, with the rows of all of comm's ranks, and exactly the
-- key/value heads that these need; a key/value head may be needed on several ranks. Heads that the ranks do
-- not divide are split unevenly, and with more ranks than heads some have none. Keys that no query sees
-- stay where they are. The plan is that of an inner strategy, by default over this rank alone.
-- options: groups (lists of ranks of the given plan: the plan's new ranks; the ranks of comm are one of
-- them), inner_comm (over the groups). All of it is differentiable.
local check = require "mosaic.check"
local comms = require "mosaic.comm"
local create = require "mosaic.tensor.create"
local exchange = require "mosaic.exchange"
local mask_rows = require "mosaic.mask_rows"
local partition = require "mosaic.partition"
local visibility = require "mosaic.visibility"
local wire = require "mosaic.wire"

local head_split = {}

local function greatest_divisor(a, b)
  while b > 0 do a, b = b, a % b end
  return a
end

--- Of key/value heads that serve counts[i] query heads each: how often each must be there so that all
-- serve as many. Nil: they do.
local function repeats(counts)
  local common = 0
  for _, count in ipairs(counts) do common = greatest_divisor(common, count) end
  local list = {}
  for i, count in ipairs(counts) do
    for _ = 1, count / common do list[#list + 1] = i end
  end
  return #list > #counts and list or nil
end

--- The key/value heads for query heads first..first+count-1 (group: query heads to one of them).
local function share_of(first, count, group)
  if count == 0 then return { first = first, count = 0, kv_first = 1, kv_count = 0 } end
  local last, counts = first + count - 1, {}
  local kv_first, kv_last = math.ceil(first / group), math.ceil(last / group)
  for kv = kv_first, kv_last do
    counts[#counts + 1] = math.min(last, kv * group) - math.max(first, (kv - 1) * group + 1) + 1
  end
  return { first = first, count = count, kv_first = kv_first, kv_count = #counts, repeats = repeats(counts) }
end

--- For each rank { first, count: its query heads, kv_first, kv_count: its key/value heads, repeats }.
function head_split.shares(ranks, heads, kv_heads)
  local part, shares = partition.new { rows = heads, ranks = ranks }, {}
  for rank = 0, ranks - 1 do
    local piece = part:pieces(rank)[1]
    shares[rank + 1] = share_of(piece[1], piece[3], heads / kv_heads)
  end
  return shares
end

local function list_of(shares, name)
  local list = {}
  for i, share in ipairs(shares) do list[i] = share[name] end
  return list
end

--- k with every head as often as ranks need it, in the order of the ranks.
local function for_all_ranks(k, shares)
  local runs, total = {}, 0
  for i, share in ipairs(shares) do
    runs[i] = { share.kv_first, 1, share.kv_count }
    total = total + share.kv_count
  end
  return total == k:size(-3) and k or k:index_select(-3, create.runs(runs, k.device))
end

local function counts_of(placement, ranks)
  return placement:only(ranks):row_counts()
end

local function all_ranks(placement)
  local ranks = {}
  for rank = 0, placement.ranks - 1 do ranks[rank + 1] = rank end
  return ranks
end

--- The plan of the inner strategy; `split` is what collect needs.
local function inner_plan(comm, plan, keys, shares, split, options)
  local own = shares[comm.rank + 1]
  return plan:with {
    comm = options.inner_comm or comms.alone(),
    queries = plan.queries:united(split.groups), keys = keys:united(split.groups),
    mask = mask_rows.split(comm, plan.mask, split.rows, -3, split.parts),
    head_from = (plan.head_from or 1) + own.first - 1, split = split,
  }
end

--- q, k, v and the plan for this rank's heads.
function head_split.scatter(comm, q, k, v, plan, options)
  options = check.options("head_split", options or {}, { "groups", "inner_comm" })
  local flat = q.ndim == 2 -- no axis of heads: one head
  if flat then q, k, v = q:unsqueeze(1), k:unsqueeze(1), v:unsqueeze(1) end
  local groups = options.groups or { all_ranks(plan.queries) }
  local ranks = groups[(options.inner_comm and options.inner_comm.rank or 0) + 1]
  local shares = head_split.shares(comm.size, q:size(-3), k:size(-3))
  local own, kv_parts = shares[comm.rank + 1], list_of(shares, "kv_count")
  local split = {
    groups = groups, rows = counts_of(plan.queries, ranks), parts = list_of(shares, "count"), flat = flat,
  }
  local keys, ranges = visibility.seen_keys(plan.mask, plan.queries, plan.keys)
  local range, key_rows = ranges[ranks[comm.rank + 1] + 1], counts_of(keys, ranks)
  local function move_keys(x)
    x = for_all_ranks(x:narrow(-2, unpack(range)), shares)
    return exchange.to_parts(comm, x, -3, kv_parts, key_rows, plan.wire)
  end
  local requests = { exchange.to_parts(comm, q, -3, split.parts, split.rows), move_keys(k), move_keys(v) }
  q, k, v = requests[1]:wait(), requests[2]:wait(), requests[3]:wait()
  if own.repeats then
    local index = create.tensor(own.repeats, { dtype = "i64", device = k.device })
    k, v = k:index_select(-3, index), v:index_select(-3, index)
  end
  return q, k, v, inner_plan(comm, plan, keys, shares, split, options)
end

--- out and lse of this rank's heads -> of this rank's rows.
function head_split.collect(comm, out, lse, plan)
  out, lse = exchange.results_to_rows(comm, out, lse, -3, plan.split.parts, plan.split.rows)
  if plan.split.flat then return out:squeeze(1), lse:squeeze(1) end
  return out, lse
end

--- The plan and sizes for one share of the heads (`number` among the ranks of its group) on rank `part` over
-- the groups, as far as arithmetic needs them: for an inner strategy's check and volume.
function head_split.preview(plan, sizes, groups, part, number)
  local share = head_split.shares(#groups[1], sizes.heads, sizes.kv_heads)[number + 1]
  local keys, own = visibility.seen_keys(plan.mask, plan.queries, plan.keys), {}
  local members = {}
  for i, group in ipairs(groups) do members[i] = group[number + 1] end
  for name, value in pairs(sizes) do own[name] = value end
  own.heads, own.kv_heads = share.count, share.repeats and #share.repeats or share.kv_count
  return plan:with {
    comm = plan.comm:preview(members, part),
    queries = plan.queries:united(groups), keys = keys:united(groups),
    mask = mask_rows.part(mask_rows.outline(plan.mask), -3, share.first, share.count),
  }, own
end

--- Bytes that this rank sends for both. ranks: those of the plan that take part, as its group (default: all);
-- number: this one's place among them.
function head_split.volume(plan, sizes, ranks, number)
  local rank = number or plan.comm.rank
  ranks = ranks or all_ranks(plan.queries)
  local queries = counts_of(plan.queries, ranks)
  local shares, total = head_split.shares(#ranks, sizes.heads, sizes.kv_heads), 0
  local keys = visibility.seen_keys(plan.mask, plan.queries, plan.keys):only(ranks)
  local key = 2 * wire.bytes(plan.wire, sizes.d, sizes.bytes)
  for other, share in ipairs(shares) do
    if other - 1 ~= rank then
      total = total + queries[rank + 1] * share.count * sizes.d * sizes.bytes
        + keys:count(rank) * share.kv_count * key
        + queries[other] * shares[rank + 1].count * (sizes.d * sizes.out_bytes + 8)
    end
  end
  return sizes.batch * total + mask_rows.bytes(plan.mask, rank, queries, -3, list_of(shares, "count"))
end

return head_split
