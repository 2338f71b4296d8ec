--- Rows change places with a batch axis: every rank attends over the whole sequence for some of its entries.
--
-- One all-to-all brings q, k and v to the ranks of their batch entries, another the result back to its rows
-- (batch_split.lua). Sent per rank where the ranks divide the axis: (2 + 2/g) n E b (p-1)/p, and lse. Memory
-- O(n), since a rank has its share of the entries; with fewer entries than ranks some have nothing to do.
-- axis: the batch axis (a number as for q), by default the longest. mosaic.switch does this to one tensor,
-- for layers that stay on the other axis and spare the way back. (Zhao et al. 2024, "DSP".)
local attention = require "mosaic.attention"
local batch_split = require "mosaic.batch_split"
local check = require "mosaic.check"
local strategy = require "mosaic.strategy"

--- The batch axis counted from the end (-4 or -5; above that: no batch axis), and its size.
local function axis_of(plan, sizes)
  local shape, given = sizes.batch_shape, plan.options.axis
  local longest = shape[2] and shape[2] > shape[1] and 2 or 1
  local at = given and check.axis("switch", given, #shape + 3) + 1 or longest
  return at - #shape - 4, shape[at]
end

return {
  options = { "axis" },
  verify = { batch = function(ranks) return ranks end }, -- an entry for each rank

  check = function(plan, sizes)
    local count = #sizes.batch_shape
    if count == 0 then
      check.fail("switch: q with %d heads has no batch axis to share out; 'heads' shares out heads",
        sizes.heads)
    elseif axis_of(plan, sizes) > -4 then
      check.fail("switch: axis %d is none of the %d batch axes; -4 is", plan.options.axis, count)
    end
  end,

  attend = function(comm, q, k, v, plan)
    local axis = axis_of(plan, strategy.sizes(q, k, v))
    q, k, v, plan = batch_split.scatter(comm, q, k, v, plan, axis)
    local out, lse = attention.sdpa(q, k, v, plan:block(0))
    return batch_split.collect(comm, out, lse, plan)
  end,

  volume = function(plan, sizes) return batch_split.volume(plan, sizes, axis_of(plan, sizes)) end,
}
