--- Files as the C library sees them: texts across the border, and files that are replaced at once.
local ffi = require "ffi"
local C = require "mosaic.ffi"
local check = require "mosaic.check"

local file = {}

--- A path, or an error that names the function it was given to.
function file.path(where, path)
  if type(path) ~= "string" or path == "" or path:find "%z" then
    check.fail("%s: a path is expected, got %s", where, check.show(path))
  end
  return path
end

--- An option {first, last} (from 1, both included; no last: to the end) as a 0-based start and a
-- count; -1 counts everything that follows. `what` says whose rows they are.
function file.row_range(where, range, what)
  if range == nil then return 0, -1 end
  what = what or ""
  if type(range) ~= "table" then
    check.fail("%s: the rows%s must be {first, last}, got %s", where, what, check.show(range))
  end
  local first = check.integer(where, "the first of the rows" .. what, range[1], 1)
  if range[2] == nil then return first - 1, -1 end
  return first - 1, check.integer(where, "the last of the rows" .. what, range[2], first - 1) - first + 1
end

--- A C text as a Lua string.
function file.string(text)
  return ffi.string(text.data, text.bytes)
end

--- A list of Lua strings as a C array of texts; the list must outlive it.
function file.texts(list)
  local texts = ffi.new("mosaic_text[?]", math.max(1, #list))
  for i, value in ipairs(list) do
    texts[i - 1].data, texts[i - 1].bytes = value, #value
  end
  return texts
end

--- Replaces the file by what `body(write)` writes: all of it, or on an error nothing.
function file.replace(where, path, body)
  local handle = ffi.new "mosaic_file *[1]"
  check.call("mosaic_file_new", handle, file.path(where, path))
  local open = ffi.gc(handle[0], C.mosaic_file_release)
  local ok, message = pcall(body, function(text)
    check.call("mosaic_file_append", open, text, #text)
  end)
  if ok then ok, message = pcall(check.call, "mosaic_file_commit", open) end
  C.mosaic_file_release(ffi.gc(open, nil))
  if not ok then error(message, 0) end
end

return file
