--- JSON in files: one value a file, replaced as a whole.
local check = require "mosaic.check"
local decode = require "mosaic.data.json.decode"
local encode = require "mosaic.data.json.encode"
local file = require "mosaic.data.file"

local json_file = {}

--- The value in a file. A mistake in it is an error with the path, line and column.
function json_file.read(path)
  local handle, why = io.open(file.path("read_json", path), "rb")
  if not handle then check.fail("%s", why) end
  local text = handle:read "*a"
  handle:close()
  if not text then check.fail("%s: cannot be read", path) end
  return decode(text, path)
end

--- Replaces the file by the value, on one line.
function json_file.write(path, value)
  file.path("write_json", path)
  local text = encode(value)
  file.replace("write_json", path, function(write) write(text .. "\n") end)
end

return json_file
