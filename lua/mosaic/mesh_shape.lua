--- Rows and columns of a mesh of ranks: what a user gave, checked, or the most square one.
local check = require "mosaic.check"

local mesh_shape = {}

--- a, c with a c = ranks, a <= c, and a as large as can be.
function mesh_shape.most_square(ranks)
  local a = math.floor(math.sqrt(ranks))
  while ranks % a > 0 do a = a - 1 end
  return a, ranks / a
end

--- Fails unless the shape (nil: none was given) is {a, c} with a c = ranks.
function mesh_shape.check(where, shape, ranks)
  if shape == nil then return end
  local a, c = unpack(check.kind(where, "mesh_shape", shape, "table"))
  check.integer(where, "mesh_shape[1]", a, 1)
  if a * check.integer(where, "mesh_shape[2]", c, 1) == ranks and #shape == 2 then return end
  check.fail("%s: mesh_shape {%s} is not a mesh of %d ranks; {%d, %d} is", where, table.concat(shape, ", "),
    ranks, mesh_shape.most_square(ranks))
end

return mesh_shape
