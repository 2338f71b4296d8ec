--- Tensors in files: `mosaic.save(path, tensors, metadata)`, `tensors, metadata = mosaic.load(path)`.
--
-- The format is safetensors: names, shapes and bytes, never code. A name is only a name: nothing
-- here or in C makes a path of it. Saving replaces the file at once or not at all, and the same
-- content gives the same bytes.
local ffi = require "ffi"
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local devices = require "mosaic.device"
local file = require "mosaic.data.file"
local Tensor = require "mosaic.tensor"

local safetensors = {}

local function open(path)
  local handle = ffi.new "mosaic_safetensors *[1]"
  check.call("mosaic_safetensors_open", handle, path)
  return ffi.gc(handle[0], C.mosaic_safetensors_release)
end

--- The tensors' names in order of their data, and name -> index.
local function directory(handle)
  local names, index, info = {}, {}, ffi.new "mosaic_safetensors_info"
  for i = 1, tonumber(C.mosaic_safetensors_count(handle)) do
    check.call("mosaic_safetensors_describe", info, handle, i - 1)
    names[i] = file.string(info.name)
    index[names[i]] = i
  end
  return names, index
end

local function read_metadata(handle)
  local metadata, pair = {}, ffi.new "mosaic_text[2]"
  for i = 1, tonumber(C.mosaic_safetensors_metadata_count(handle)) do
    check.call("mosaic_safetensors_metadata", pair, pair + 1, handle, i - 1)
    metadata[file.string(pair[0])] = file.string(pair[1])
  end
  return metadata
end

--- The index of a name that was asked for.
local function find(path, name, names, index)
  if index[name] then return index[name] end
  local near = type(name) == "string" and check.nearest(name, names)
  check.fail("load: %s has no tensor %s%s", path, check.show(name),
    near and (", did you mean '%s'?"):format(near) or "")
end

local function read(handle, i, first, rows, device)
  local c = Tensor.blank()
  check.call("mosaic_safetensors_read", c, handle, i - 1, first, rows)
  return Tensor.wrap(c):to { device = device }
end

--- Reads a file: tensors by name, metadata (strings by name). Options:
--   names  = {"a", "b"}           only these
--   rows   = {a = {first, last}}  only these rows of the first axis, without reading the others
--   device = "cuda"               where the tensors go (default: the default device)
function safetensors.load(path, options)
  options = check.options("load", options or {}, { "names", "rows", "device" })
  local handle = open(file.path("load", path))
  local names, index = directory(handle)
  local rows, tensors, device = options.rows or {}, {}, devices.resolve("load", options.device)
  for name in pairs(rows) do find(path, name, names, index) end
  for _, name in ipairs(options.names or names) do
    local i = find(path, name, names, index)
    local first, count = file.row_range("load", rows[name], " of '" .. name .. "'")
    tensors[name] = read(handle, i, first, count, device)
  end
  local metadata = read_metadata(handle)
  C.mosaic_safetensors_release(ffi.gc(handle, nil))
  return tensors, metadata
end

--- What a file holds, without reading the data: { {name=, dtype=, shape=}, ... }, metadata.
function safetensors.inspect(path)
  local handle = open(file.path("inspect", path))
  local list, info = {}, ffi.new "mosaic_safetensors_info"
  for i = 1, tonumber(C.mosaic_safetensors_count(handle)) do
    check.call("mosaic_safetensors_describe", info, handle, i - 1)
    local shape = {}
    for axis = 1, info.ndim do shape[axis] = tonumber(info.size[axis - 1]) end
    list[i] = { name = file.string(info.name), dtype = ffi.string(info.dtype), shape = shape }
  end
  local metadata = read_metadata(handle)
  C.mosaic_safetensors_release(ffi.gc(handle, nil))
  return list, metadata
end

--- The keys of a table, sorted; fails unless all are strings and `valid(value)` holds for every value.
local function sorted_keys(what, values, valid, expected)
  if type(values) ~= "table" then check.fail("save: %s must be a table, got %s", what, check.show(values)) end
  local keys = {}
  for key, value in pairs(values) do
    if type(key) ~= "string" or not valid(value) then
      check.fail("save: %s[%s] must be %s under a string key, got %s", what, check.show(key), expected,
        check.show(value))
    end
    keys[#keys + 1] = key
  end
  table.sort(keys)
  return keys
end

local function is_string(value) return type(value) == "string" end

--- Replaces the file by the given tensors (by name) and metadata (strings by name).
function safetensors.save(path, tensors, metadata)
  metadata = metadata or {}
  local names = sorted_keys("tensors", tensors, Tensor.is, "a tensor")
  local keys = sorted_keys("metadata", metadata, is_string, "a string")
  local views, values = ffi.new("const mosaic_tensor *[?]", math.max(1, #names)), {}
  for i, name in ipairs(names) do views[i - 1] = tensors[name].c end
  for i, key in ipairs(keys) do values[i] = metadata[key] end
  check.call("mosaic_safetensors_save", file.path("save", path), #names, file.texts(names), views,
    #keys, file.texts(keys), file.texts(values))
end

return safetensors
