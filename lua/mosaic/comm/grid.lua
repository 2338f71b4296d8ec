--- Ranks as a grid of rows and columns: `local row, column = comm:grid(2, 3)`.
--
-- Rank r stands in row floor(r / columns) and column r % columns. `row` is the communicator of the ranks of
-- this row (their rank there is the column), `column` that of this column. Both are split on first use,
-- in this order on every rank, and kept: later calls with the same sizes send nothing.
local check = require "mosaic.check"
local Comm = require "mosaic.comm.class"

function Comm:grid(rows, columns)
  check.integer("grid", "rows", rows, 1)
  check.integer("grid", "columns", columns, 1)
  if rows * columns ~= self.size then
    check.fail("grid: %d x %d is not %d ranks", rows, columns, self.size)
  end
  self.grids = self.grids or {}
  local known = self.grids[columns]
  if not known then
    local i, j = math.floor(self.rank / columns), self.rank % columns
    known = { self:split(i, j), self:split(j, i) }
    self.grids[columns] = known
  end
  return known[1], known[2]
end

return Comm
