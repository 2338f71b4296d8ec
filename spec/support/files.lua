--- Small files for specs: `files.write(bytes)` returns the path of a new temporary file.
-- All of them disappear when the process ends.
local ffi = require "ffi"
ffi.cdef [[
  char *mkdtemp(char *);
  int symlink(const char *, const char *);
]]

local files = {}
local folder

--- A folder of this process.
local function temporary_folder()
  if folder then return folder end
  local name = ffi.new("char[?]", 64, "/tmp/mosaic-spec-XXXXXX")
  assert(ffi.C.mkdtemp(name) ~= nil)
  folder = ffi.string(name)
  local sentinel = newproxy(true)
  getmetatable(sentinel).__gc = function() os.execute("rm -rf " .. folder) end
  files.sentinel = sentinel
  return folder
end

--- A path in the folder; nothing is there yet.
local count = 0
function files.path(name)
  count = count + 1
  return ("%s/%d-%s"):format(temporary_folder(), count, name or "file")
end

function files.write(bytes, name)
  local path = files.path(name)
  local file = assert(io.open(path, "wb"))
  file:write(bytes)
  file:close()
  return path
end

function files.read(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read "*a"
  file:close()
  return bytes
end

--- The names in the folder that contain `part` (plain text).
function files.list(part)
  local names = {}
  for name in io.popen("ls -a " .. temporary_folder()):lines() do
    if name:find(part, 1, true) then names[#names + 1] = name end
  end
  return names
end

function files.symlink(target, name)
  local path = files.path(name)
  assert(ffi.C.symlink(target, path) == 0)
  return path
end

--- n as `bytes` little-endian bytes.
function files.little_endian(n, bytes)
  local parts = {}
  for i = 1, bytes do
    parts[i] = string.char(n % 256)
    n = math.floor(n / 256)
  end
  return table.concat(parts)
end

return files
