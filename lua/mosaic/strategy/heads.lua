--- Rows change places with heads: every rank attends over the whole sequence with some of the heads.
--
-- One all-to-all brings q, k and v to the ranks of their heads, another the result back to its rows. Any
-- numbers of ranks, heads and key/value heads; what goes where: head_split.lua. Sent per rank where the
-- ranks divide both: (2 + 2/g) n E b (p-1)/p, and lse. Memory O(n), since a rank has its share of the heads.
-- (Jacobs et al. 2023, "DeepSpeed Ulysses".)
local attention = require "mosaic.attention"
local head_split = require "mosaic.head_split"

return {
  attend = function(comm, q, k, v, plan)
    q, k, v, plan = head_split.scatter(comm, q, k, v, plan)
    local out, lse = attention.sdpa(q, k, v, plan:block(0))
    return head_split.collect(comm, out, lse, plan)
  end,

  volume = head_split.volume,
}
