--- What it costs to send queries and their results, or keys and values, once: bytes, pure arithmetic.
-- sizes: see strategy/init.lua.
local visibility = require "mosaic.visibility"
local wire = require "mosaic.wire"

local traffic = {}

--- A query that goes out, and what comes back for it: its row of out, and lse.
function traffic.query(sizes) return sizes.batch * sizes.heads * sizes.d * sizes.bytes end

function traffic.result(sizes) return sizes.batch * sizes.heads * (sizes.d * sizes.out_bytes + 8) end

--- A key with its value.
function traffic.key(sizes, format)
  return 2 * sizes.batch * sizes.kv_heads * wire.bytes(format, sizes.d, sizes.bytes)
end

--- All queries of a plan there and their results back, and all keys that somebody sees.
function traffic.of_plan(plan, sizes)
  local keys = visibility.seen_keys(plan.mask, plan.queries, plan.keys)
  local query_rows, key_rows = 0, 0
  for rank = 0, plan.comm.size - 1 do
    query_rows, key_rows = query_rows + plan.queries:count(rank), key_rows + keys:count(rank)
  end
  return query_rows * (traffic.query(sizes) + traffic.result(sizes)), key_rows * traffic.key(sizes, plan.wire)
end

return traffic
