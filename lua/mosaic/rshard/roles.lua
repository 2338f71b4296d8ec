--- Who owns rows in R-sharding, and which rank is attention node (j,l).
local check = require "mosaic.check"

local roles = {}

--- nodes[j][l], 1 <= j, l <= beta: as `ranks` says (of node (1,1), (1,2), ...), or dealt so that each query
-- set has equally many ranks, as far as they go. Ranks after the `compute` first are attention nodes only;
-- with none left all ranks are both.
function roles.nodes(size, beta, compute, ranks)
  local pool, nodes = {}, {}
  for rank = compute < size and compute or 0, size - 1 do pool[#pool + 1] = rank end
  if ranks and #ranks ~= beta * beta then
    check.fail("rshard: %d ranks for %d x %d attention nodes", #ranks, beta, beta)
  end
  local width = math.max(1, math.min(beta, math.floor(#pool / beta)))
  for j = 1, beta do
    nodes[j] = {}
    for l = 1, beta do
      local place, given = (j - 1) * width + (l - 1) % width, ranks and ranks[(j - 1) * beta + l]
      if ranks and check.integer("rshard", ("the rank of node (%d,%d)"):format(j, l), given, 0) >= size then
        check.fail("rshard: node (%d,%d) is on rank %d, the ranks are 0..%d", j, l, given, size - 1)
      end
      nodes[j][l] = given or pool[place % #pool + 1]
    end
  end
  return nodes
end

--- Attention ranks bring no rows.
function roles.check(plan)
  local compute, size = plan.options.compute, plan.comm.size
  if compute == nil then return end
  check.integer("rshard", "compute", compute, 1)
  if compute > size then check.fail("rshard: %d compute ranks, there are %d ranks", compute, size) end
  for rank = compute, size - 1 do
    local rows = plan.queries:count(rank) + plan.keys:count(rank)
    if rows > 0 then
      check.fail("rshard: rank %d brings %d rows, but only the first %d ranks compute; give it none, by "
        .. "layout 'indices'", rank, rows, compute)
    end
  end
end

return roles
