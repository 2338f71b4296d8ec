--- Keys and values travel around the ring; queries stay home.
--
-- At step t a rank attends to the block of rank (r - t) mod p while the next block is on its way; rows
-- that no other rank sees stay at home, and a block ends its way at the last rank that sees it. Sent per
-- rank without a mask: 2 (p-1) n Hkv d b forward, as much and 2 (p-1) n Hkv d gradients in f32 backward.
-- Memory O(n). (Liu et al. 2023, "Ring attention with blockwise transformers".)
-- directions = 2: half of each block goes the other way round, so that both directions of the links work.
local check = require "mosaic.check"
local rotate = require "mosaic.rotate"

return {
  options = { "directions" },

  check = function(plan)
    local directions = plan.options.directions
    if directions ~= nil and directions ~= 1 and directions ~= 2 then
      check.fail("ring: directions must be 1 or 2, got %s", check.show(directions))
    end
  end,

  attend = function(comm, q, k, v, plan)
    return rotate(comm, q, k, v, plan, { directions = plan.options.directions })
  end,

  backward = function(comm, q, k, v, plan, g)
    return rotate.backward(comm, q, k, v, plan, g, { directions = plan.options.directions })
  end,

  volume = function(plan, sizes)
    return rotate.volume(plan.comm, plan, sizes, { directions = plan.options.directions })
  end,
}
