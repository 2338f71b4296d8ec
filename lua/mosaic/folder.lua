--- The names in a folder, sorted: `folder.list "lua/mosaic/strategy"` --> { "init.lua", ... }.
local ffi = require "ffi"
local check = require "mosaic.check"

ffi.cdef [[
typedef struct mosaic_folder mosaic_folder; /* DIR */
typedef struct {
  uint64_t inode; int64_t offset; uint16_t size; uint8_t kind; char name[256];
} mosaic_folder_entry;
mosaic_folder *opendir(const char *path);
mosaic_folder_entry *readdir(mosaic_folder *folder); /* struct dirent of 64-bit Linux */
int closedir(mosaic_folder *folder);
]]

local folder = {}

function folder.list(path)
  local handle, names = ffi.C.opendir(path), {}
  if handle == nil then check.fail("folder.list: cannot open %s", path) end
  local entry = ffi.C.readdir(handle)
  while entry ~= nil do
    local name = ffi.string(entry.name)
    if name:sub(1, 1) ~= "." then names[#names + 1] = name end
    entry = ffi.C.readdir(handle)
  end
  ffi.C.closedir(handle)
  table.sort(names)
  return names
end

return folder
