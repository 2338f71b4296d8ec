--- The C library: `local C = require "mosaic.ffi"`, then `C.mosaic_...`.
-- Its declarations come out of the library itself (core/mosaic.h). MOSAIC_LIB names another library file.
local ffi = require "ffi"

--- Folder of the Lua sources, such as ".../lua/" (with the slash).
local lua_dir = debug.getinfo(1, "S").source:match "^@(.*)mosaic/ffi%.lua$" or "lua/"

local function exists(path)
  local file = io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

--- In a checkout the library lies in build/, after `make install` in PREFIX/lib.
local function find_library()
  local build = os.getenv "MOSAIC_BUILD" or "build"
  local candidates = {
    os.getenv "MOSAIC_LIB" or "",
    lua_dir .. "../" .. build .. "/libmosaic.so",
    lua_dir .. "../../../lib/libmosaic.so",
  }
  for _, path in ipairs(candidates) do
    if path ~= "" and exists(path) then return path end
  end
  return "libmosaic.so"
end

local C = ffi.load(find_library())
ffi.cdef "const char *mosaic_cdef(void);"
ffi.cdef((ffi.string(C.mosaic_cdef()):gsub("const char %*mosaic_cdef%(void%);", "")))
return C
