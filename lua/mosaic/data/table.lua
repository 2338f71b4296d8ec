--- A table that was read from a CSV file: names, rows, and columns as tensors or texts.
local ffi = require "ffi"
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local class = require "mosaic.class"
local devices = require "mosaic.device"
local file = require "mosaic.data.file"
local Tensor = require "mosaic.tensor"

local Table = class "Table"

function Table:init(fields)
  for name, value in pairs(fields) do self[name] = value end
end

--- The number in the file (from 1) of a column given by its name or number.
function Table:find(column)
  if type(column) == "number" then
    if self.all[column] then return column end
    check.fail("%s: column %s of %d", self.path, check.show(column), #self.all)
  end
  local found
  for i, name in ipairs(self.all) do
    if name == column then
      if found then
        check.fail("%s: columns %d and %d are both called '%s': use the number", self.path, found, i, name)
      end
      found = i
    end
  end
  if found then return found end
  local near = type(column) == "string" and check.nearest(column, self.all)
  check.fail("%s has no column %s%s (it has: %s)", self.path, check.show(column),
    near and (", did you mean '%s'?"):format(near) or "", table.concat(self.all, ", "))
end

--- Parses the given columns (nil: all), which become those of the table.
function Table:choose(columns)
  local numbers = {}
  for i = 1, #(columns or self.all) do numbers[i] = columns and self:find(columns[i]) or i end
  local list = ffi.new("int64_t[?]", math.max(1, #numbers))
  self.names, self.chosen = {}, {}
  for i, number in ipairs(numbers) do
    self.names[i], self.chosen[number] = self.all[number], true
    list[i - 1] = number - 1
  end
  check.call("mosaic_csv_parse", self.handle, list, #numbers)
end

--- Are all cells of a column numbers or missing?
function Table:is_numeric(column)
  local number = self:find(column)
  if not self.chosen[number] then
    check.fail("%s: column %d is not among those that were read", self.path, number)
  end
  return C.mosaic_csv_is_numeric(self.handle, number - 1)
end

--- The numbers of one column (rows) or of a list of columns (rows, columns), NaN where missing.
-- options.dtype is "f64" unless given.
function Table:numeric(columns, options)
  options = check.options("numeric", options or {}, { "dtype", "device" })
  local device = devices.resolve("numeric", options.device)
  local list = type(columns) == "table" and columns or { columns }
  local numbers = ffi.new("int64_t[?]", math.max(1, #list))
  for i, column in ipairs(list) do numbers[i - 1] = self:find(column) - 1 end
  local c = Tensor.blank()
  check.call("mosaic_csv_numeric", c, self.handle, numbers, #list)
  local t = Tensor.wrap(c)
  if list ~= columns then t = t:select(2, 1) end
  return t:to { dtype = options.dtype or "f64", device = device }
end

--- Calls visit(row, text, is_missing) for every cell of a column.
local function visit_cells(self, column, visit)
  local number, text, missing = self:find(column) - 1, ffi.new "mosaic_text[1]", ffi.new "bool[1]"
  for row = 1, self.rows do
    check.call("mosaic_csv_cell", text, missing, self.handle, row - 1, number)
    visit(row, text[0], missing[0])
  end
end

--- The cells of a column as a list of strings, just as they stand in the file (unquoted).
function Table:text(column)
  local list = {}
  visit_cells(self, column, function(row, text) list[row] = file.string(text) end)
  return list
end

--- The rows (from 1) whose cell in a column is missing.
function Table:missing(column)
  local list = {}
  visit_cells(self, column, function(row, _, is_missing)
    if is_missing then list[#list + 1] = row end
  end)
  return list
end

return Table
