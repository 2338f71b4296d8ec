--- Makes a folder and those above it; fine when it is there already: `mosaic.data.make_folder("out/run1")`.
local ffi = require "ffi"
local check = require "mosaic.check"

ffi.cdef [[
int mkdir(const char *path, unsigned int mode);
char *strerror(int number);
]]

local EEXIST, MODE = 17, tonumber("777", 8)

return function(path)
  if type(path) ~= "string" or path == "" then
    check.fail("make_folder: a path is expected, got %s", check.show(path))
  end
  for last in path:gmatch "[^/]+()" do
    local part = path:sub(1, last - 1)
    if ffi.C.mkdir(part, MODE) ~= 0 and ffi.errno() ~= EEXIST then
      check.fail("make_folder: %s: %s", part, ffi.string(ffi.C.strerror(ffi.errno())))
    end
  end
end
