--- Order along an axis, and running sums. Sorting is stable; NaN comes last in either direction.
local check = require "mosaic.check"
local Tensor = require "mosaic.tensor.class"

local function sort(where, self, axis, descending)
  local values, indices = Tensor.blank(), Tensor.blank()
  check.call("mosaic_sort", values, indices, self.c, check.axis(where, axis or -1, self.c.ndim),
    descending or false)
  return Tensor.wrap(values), Tensor.wrap(indices)
end

--- Values in ascending order (or descending) along an axis (default the last), and the 1-based places
-- where they were.
function Tensor:sort(axis, descending)
  return sort("sort", self, axis, descending)
end

--- The places alone.
function Tensor:argsort(axis, descending)
  return (select(2, sort("argsort", self, axis, descending)))
end

--- The `count` largest values (smallest with largest = false) in order, and their places.
function Tensor:topk(count, axis, largest)
  local values, indices = Tensor.blank(), Tensor.blank()
  check.call("mosaic_topk", values, indices, self.c, check.axis("topk", axis or -1, self.c.ndim),
    check.integer("topk", "the count", count, 0), largest ~= false)
  return Tensor.wrap(values), Tensor.wrap(indices)
end

--- Sums of the elements up to each one along an axis; with `backwards`, from each one to the end.
function Tensor:cumsum(axis, backwards)
  local c = Tensor.blank()
  check.call("mosaic_cumsum", c, self.c, check.axis("cumsum", axis, self.c.ndim), backwards or false)
  return (Tensor.wrap(c))
end
