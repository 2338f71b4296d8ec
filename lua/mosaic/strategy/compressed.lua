--- Near keys exactly, far ones in blocks: what other nodes hold is pooled before it travels.
--
--   { "compressed", ratio = 16, global_tokens = 4, node_size = 2, pool = function(x) ... end }
--
-- A rank sees exactly its own rows, those of its node (node_size ranks that follow each other, default 1)
-- and the first global_tokens positions. Other rows come as one row for each block of `ratio`, by default the
-- mean, with the logarithm of the block's size added to its score: equal keys and values are exact. Under a
-- causal mask a block must lie wholly before a query or after it, as contiguous and zigzag layouts see to.
-- Sent per rank: 2 n Hkv d b (node_size - 1 + (p - node_size) / ratio) and the global rows; held: near rows
-- and far rows / ratio.
local move = require "mosaic.move"
local pool = require "mosaic.pool"
local see = require "mosaic.pool.see"
local Tiers = require "mosaic.tiers"
local wire = require "mosaic.wire"

--- The rows that this rank sees exactly.
local function near_of(comm, tiers, x)
  if not tiers.any_near then return x end
  return move(comm, x, -2, tiers.plan.keys, tiers.near, tiers.plan.wire)
end

--- The blocks of other nodes that it sees.
local function far_of(comm, tiers, x)
  if not tiers.any_far then return nil end
  local own = pool(x, tiers.blocks[comm.rank + 1], tiers.ratio, tiers.plan.options.pool)
  return move(comm, own, -2, tiers.pooled, tiers.far, tiers.plan.wire)
end

return {
  options = { "ratio", "global_tokens", "node_size", "pool" },
  approximate = "keys and values of other nodes are pooled; mosaic.compressed.report measures the error",
  verify = { mask = "causal", layout = "zigzag" },
  check = require "mosaic.tiers.check",
  reference = require "mosaic.pool.reference",

  attend = function(comm, q, k, v, plan)
    local tiers = Tiers(plan)
    local near = { near_of(comm, tiers, k), near_of(comm, tiers, v) }
    return see(tiers, comm.rank, q, near, { far_of(comm, tiers, k), far_of(comm, tiers, v) })
  end,

  volume = function(plan, sizes)
    local exact, blocks = Tiers(plan):rows_sent(plan.comm.rank)
    return 2 * (exact + blocks) * sizes.batch * sizes.kv_heads * wire.bytes(plan.wire, sizes.d, sizes.bytes)
  end,
}
