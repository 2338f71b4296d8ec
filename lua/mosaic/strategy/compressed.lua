--- Near keys exactly, far ones in blocks: what other nodes hold is pooled before it travels.
--
--   { "compressed", ratio = 16, global_tokens = 4, node_size = 2, pool = function(x) ... end }
--
-- A rank sees exactly its own rows, those of its node (node_size ranks that follow each other, default 1)
-- and the first global_tokens positions. Other rows come as one row for each block of `ratio` (pool.lua), by
-- default the mean, with the logarithm of the block's size added to its score: so equal keys and values are
-- exact. Under a causal mask a block must lie wholly before a query or after it, as contiguous and zigzag
-- layouts see to. Sent per rank: 2 n Hkv d b (node_size - 1 + (p - node_size) / ratio) and the global rows;
-- held: near rows and far rows / ratio.
local attention = require "mosaic.attention"
local check = require "mosaic.check"
local create = require "mosaic.tensor.create"
local move = require "mosaic.move"
local pool = require "mosaic.pool"
local Tiers = require "mosaic.tiers"
local wire = require "mosaic.wire"

local POSSIBLE = { causal = true, prefix = true }

local function check_options(options)
  check.integer("compressed", "ratio", options.ratio or 16, 1)
  check.integer("compressed", "global_tokens", options.global_tokens or 0, 0)
  check.integer("compressed", "node_size", options.node_size or 1, 1)
  if options.pool ~= nil then check.callable("compressed", "pool", options.pool) end
end

--- Fails where a block would have to be seen in part.
local function check_plan(plan)
  check_options(plan.options)
  for name in pairs(plan.mask) do
    if not POSSIBLE[name] then
      check.fail("compressed: mask.%s tells apart the keys of a block; masks causal and prefix do not", name)
    end
  end
  if plan.dropout then check.fail "compressed: dropout tells apart the keys of a block; use none" end
  if plan.mask.causal then Tiers(plan):check_causal() end
end

--- The rows that this rank sees exactly.
local function near_of(comm, tiers, x)
  if not tiers.any_near then return x end
  return move(comm, x, -2, tiers.plan.keys, tiers.near, tiers.plan.wire)
end

--- The blocks of other nodes that it sees.
local function far_of(comm, tiers, x)
  local own = pool(x, tiers.blocks[comm.rank + 1], tiers.ratio, tiers.plan.options.pool)
  return move(comm, own, -2, tiers.pooled, tiers.far, tiers.plan.wire)
end

--- Options of mosaic.sdpa for this rank's queries and its far blocks.
local function far_options(tiers, rank)
  local bias, ends, plan = {}, {}, tiers.plan
  for i, number in ipairs(tiers.far:positions(rank)) do
    bias[i], ends[i] = math.log(tiers.sizes[number]), tiers.ends[number]
  end
  return {
    scale = plan.scale, q_positions = plan:block(rank).q_positions,
    k_positions = create.tensor(ends, { dtype = "i64" }),
    mask = { causal = plan.mask.causal, bias = create.tensor(bias, { dtype = "f64" }) },
  }
end

return {
  options = { "ratio", "global_tokens", "node_size", "pool" },
  approximate = "keys and values of other nodes are pooled; mosaic.compressed.report measures the error",
  check = check_plan,

  attend = function(comm, q, k, v, plan)
    local tiers = Tiers(plan)
    local out, lse = attention.sdpa(q, near_of(comm, tiers, k), near_of(comm, tiers, v),
      plan:with { keys = tiers.near }:block(comm.rank))
    if not tiers.any_far then return out, lse end
    -- a rank that sees no block merges nothing, but takes part in backward
    return attention.merge(out, lse, attention.sdpa(q, far_of(comm, tiers, k), far_of(comm, tiers, v),
      far_options(tiers, comm.rank)))
  end,

  volume = function(plan, sizes)
    local exact, blocks = Tiers(plan):rows_sent(plan.comm.rank)
    return 2 * (exact + blocks) * sizes.batch * sizes.kv_heads * wire.bytes(plan.wire, sizes.d, sizes.bytes)
  end,
}
