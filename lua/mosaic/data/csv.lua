--- Tables in CSV files: `mosaic.data.read_csv(path, options)` and `mosaic.data.write_csv`.
--
-- The format is RFC 4180: cells may be quoted, with commas, line ends and doubled quotes inside.
-- A column is numeric when every cell that was read is a number or missing; where ranks read
-- different rows, they may disagree on that. Empty lines are not rows.
local ffi = require "ffi"
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local file = require "mosaic.data.file"
local Table = require "mosaic.data.table"

local csv = {}

local READ_OPTIONS = { "header", "delimiter", "missing", "rows", "columns" }
local MISSING = { "NA", "NaN", "nan", "null", "?" }

local function delimiter_byte(where, delimiter)
  if type(delimiter) ~= "string" or #delimiter ~= 1 then
    check.fail("%s: the delimiter must be one character, got %s", where, check.show(delimiter))
  end
  return delimiter:byte()
end

local function open(path, options)
  local missing = check.option("read_csv", options, "missing", "table", MISSING)
  local c_options = ffi.new "mosaic_csv_options"
  c_options.delimiter = delimiter_byte("read_csv", options.delimiter or ",")
  c_options.header = options.header ~= false
  local texts = file.texts(missing)
  c_options.missing, c_options.missing_count = texts, #missing
  c_options.first, c_options.rows = file.row_range("read_csv", options.rows)
  local handle = ffi.new "mosaic_csv *[1]"
  check.call("mosaic_csv_open", handle, file.path("read_csv", path), c_options)
  return ffi.gc(handle[0], C.mosaic_csv_release)
end

--- Names of all columns in the file; "column_1" ... without a header.
local function all_names(handle, header)
  local names = {}
  for i = 1, tonumber(C.mosaic_csv_columns(handle)) do
    names[i] = header and file.string(C.mosaic_csv_name(handle, i - 1)) or "column_" .. i
  end
  return names
end

--- Reads a table. Options:
--   header    = true            the first row holds the names
--   delimiter = ","
--   missing   = {"NA", ...}     cells that mean "missing", besides the empty one
--   rows      = {first, last}   only these rows (from 1, both included); the rows before are scanned
--                               for quotes and line ends but not parsed, those after are not read
--   columns   = {"a", 3, ...}   only these, by name or number
-- Fields of the result: path, names (of these columns), all (names of every column), rows (how many).
function csv.read(path, options)
  options = check.options("read_csv", options or {}, READ_OPTIONS)
  local handle = open(path, options)
  local t = Table { path = path, handle = handle, all = all_names(handle, options.header ~= false),
    rows = tonumber(C.mosaic_csv_rows(handle)) }
  t:choose(options.columns)
  return t
end

--- Rows of a file (the header not counted), without parsing them: `count_rows(path, {header=true})`.
function csv.count_rows(path, options)
  options = check.options("count_rows", options or {}, { "header" })
  local rows = ffi.new "int64_t[1]"
  check.call("mosaic_csv_count", rows, file.path("count_rows", path), options.header ~= false)
  return tonumber(rows[0])
end

csv.delimiter_byte = delimiter_byte
return csv
