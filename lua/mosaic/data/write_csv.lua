--- Writing tables: `mosaic.data.write_csv(path, names, columns, {delimiter = ","})`.
--
-- A column is a list of strings and numbers or a tensor of one dimension. Numbers read back the
-- same; NaN becomes an empty cell. Cells are quoted where RFC 4180 asks for it. The file is
-- replaced as a whole, or on an error not at all.
local check = require "mosaic.check"
local csv = require "mosaic.data.csv"
local file = require "mosaic.data.file"
local Tensor = require "mosaic.tensor"

local CHUNK = 1000 -- rows per write

--- The shortest of 15 to 17 digits that gives x back (6 to 9 for the value of an f32).
local function format_number(x, single)
  if x ~= x then return "" end
  if x % 1 == 0 and math.abs(x) < 2 ^ 53 then return ("%d"):format(x) end
  local from, to = single and 6 or 15, single and 9 or 17
  for digits = from, to do
    local text = ("%." .. digits .. "g"):format(x)
    local back = tonumber(text)
    if single then back = single(back) end
    if back == x or digits == to then return text end
  end
end

--- A quoting function for cells of a table with this delimiter and so many columns.
local function quoter(delimiter, columns)
  local special = '[%' .. delimiter .. '"\r\n]'
  return function(text)
    if text:find(special) or text:find "^%s" or text:find "%s$" or (text == "" and columns == 1) then
      return '"' .. text:gsub('"', '""') .. '"'
    end
    return text
  end
end

--- The nearest f32 of a double.
local function rounder()
  local cell = require "ffi".new "float[1]"
  return function(x)
    cell[0] = x
    return cell[0]
  end
end

--- A list of cell values, how many there are, and how to print its numbers.
local function column_values(name, column)
  if not Tensor.is(column) then
    if type(column) == "table" then return column, #column end
    check.fail("write_csv: column '%s' must be a list or a tensor, got %s", name, check.show(column))
  end
  if column.ndim ~= 1 then
    check.fail("write_csv: column '%s' must have one dimension, got %s", name, column:describe())
  end
  return column:flat(), column:numel(), column.dtype ~= "f64" and rounder() or nil
end

local function cell_text(name, row, value, single)
  if type(value) == "string" then return value end
  if type(value) == "number" then return format_number(value, single) end
  check.fail("write_csv: row %d of column '%s' must be a string or a number, got %s", row, name,
    check.show(value))
end

--- The columns as { name, values, single }, all of one length.
local function gather(names, columns)
  check.kind("write_csv", "the list of names", names, "table")
  check.kind("write_csv", "the list of columns", columns, "table")
  if #names ~= #columns or #names == 0 then
    check.fail("write_csv: %d names for %d columns", #names, #columns)
  end
  local gathered, rows = {}
  for i, name in ipairs(names) do
    local values, count, single = column_values(name, columns[i])
    rows = rows or count
    if count ~= rows then
      check.fail("write_csv: column '%s' has %d rows, column '%s' %d", name, count, names[1], rows)
    end
    gathered[i] = { name = name, values = values, single = single }
  end
  return gathered, rows
end

return function(path, names, columns, options)
  file.path("write_csv", path)
  options = check.options("write_csv", options or {}, { "delimiter" })
  local delimiter = options.delimiter or ","
  csv.delimiter_byte("write_csv", delimiter)
  local gathered, rows = gather(names, columns)
  local quote = quoter(delimiter, #names)
  local cells, lines = {}, {}

  local function add_line(cell_of)
    for i, column in ipairs(gathered) do cells[i] = quote(cell_of(column)) end
    lines[#lines + 1] = table.concat(cells, delimiter) .. "\n"
  end

  file.replace("write_csv", path, function(write)
    add_line(function(column) return column.name end)
    for row = 1, rows do
      add_line(function(column) return cell_text(column.name, row, column.values[row], column.single) end)
      if #lines >= CHUNK then
        write(table.concat(lines))
        lines = {}
      end
    end
    write(table.concat(lines))
  end)
end
