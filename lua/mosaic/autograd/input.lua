--- What the rows of gradients.lua may ask of argument i of node n, kept or not; where its edge is is for
-- record.lua, which makes these nodes.
local input = { EDGE = 5 }

local function kind_of(n, i)
  return n[input.EDGE + i].kind
end

function input.shape(n, i) return kind_of(n, i).shape end
function input.wanted(n, i) return n[input.EDGE + i] and true end
function input.device(n, i) return kind_of(n, i).device end

return input
