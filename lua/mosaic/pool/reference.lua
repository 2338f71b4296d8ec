--- What the ranks of a compressed attention compute together, on one rank that has all rows: for verify.
local create = require "mosaic.tensor.create"
local join = require "mosaic.tensor.join"
local pool = require "mosaic.pool"
local see = require "mosaic.pool.see"
local Tiers = require "mosaic.tiers"
local wire = require "mosaic.wire"

--- The rows of x (.., all rows, d) that a placement gives to `rank`.
local function rows_of(x, placement, rank)
  return x:index_select(-2, create.runs(placement:pieces(rank), x.device))
end

--- Every rank's blocks, one after the other, as they arrive elsewhere.
local function every_block(tiers, x)
  local parts, plan = {}, tiers.plan
  for rank = 0, plan.keys.ranks - 1 do
    local own = rows_of(x, plan.keys, rank)
    parts[rank + 1] = pool(own, tiers.blocks[rank + 1], tiers.ratio, plan.options.pool)
  end
  local all = join.cat(parts, -2)
  return plan.wire and wire.round(all, plan.wire) or all
end

--- The strategy for one rank that stands for `compressed` on the ranks of these placements.
return function(queries, keys, options)
  return function(_, q, k, v, plan)
    local tiers = Tiers(plan:with { queries = queries, keys = keys, options = options })
    local outs, lses, blocks = {}, {}, { every_block(tiers, k), every_block(tiers, v) }
    for rank = 0, queries.ranks - 1 do
      local near, far = {}, {}
      for i, x in ipairs { k, v } do
        near[i], far[i] = rows_of(x, tiers.near, rank), rows_of(blocks[i], tiers.far, rank)
      end
      outs[rank + 1], lses[rank + 1] = see(tiers, rank, rows_of(q, queries, rank), near, far)
    end
    local places = create.tensor(queries:places(), { dtype = "i64", device = q.device })
    return join.cat(outs, -2):index_select(-2, places), join.cat(lses, -1):index_select(-1, places)
  end
end
