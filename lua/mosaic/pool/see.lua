--- One rank's queries attend to the rows that it sees exactly and to the blocks that it sees pooled.
--
--   see(tiers, rank, q, { near_k, near_v }, { far_k, far_v }) -> out, lse
--
-- An entry that stands for m keys has log m added to its score, so that equal keys and values are exact.
local attention = require "mosaic.attention"
local comms = require "mosaic.comm"
local create = require "mosaic.tensor.create"

--- Options of mosaic.sdpa for the rank's blocks.
local function far_options(tiers, rank, q_positions)
  local bias, ends, device = {}, {}, tiers.plan.device
  for i, number in ipairs(tiers.far:positions(rank)) do
    bias[i], ends[i] = math.log(tiers.sizes[number]), tiers.ends[number]
  end
  return {
    scale = tiers.plan.scale, q_positions = q_positions,
    k_positions = create.tensor(ends, { dtype = "i64", device = device }),
    mask = {
      causal = tiers.plan.mask.causal, bias = create.tensor(bias, { dtype = "f64", device = device }),
    },
  }
end

return function(tiers, rank, q, near, far)
  local options = tiers.plan:with {
    comm = comms.alone(), queries = tiers.plan.queries:only { rank }, keys = tiers.near:only { rank },
  }:block(0)
  local out, lse = attention.sdpa(q, near[1], near[2], options)
  if not tiers.any_far then return out, lse end
  -- a rank that sees no block merges nothing, but takes part in backward
  return attention.merge(out, lse,
    attention.sdpa(q, far[1], far[2], far_options(tiers, rank, options.q_positions)))
end
