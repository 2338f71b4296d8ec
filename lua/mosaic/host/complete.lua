--- What a half-typed name can become: globals, fields along a dotted path, methods after a colon.

local PROPERTIES = { "shape", "dtype", "device", "ndim", "grad", "requires_grad" } -- of tensors

--- All string keys that value[key] can find: its own and those of its __index chain.
local function keys_of(value)
  local keys = {}
  for _ = 1, 20 do
    if type(value) == "table" then
      for key in pairs(value) do keys[#keys + 1] = type(key) == "string" and key or nil end
    end
    local meta = debug.getmetatable(value)
    local index = type(meta) == "table" and rawget(meta, "__index")
    -- an __index function usually looks its methods up in the metatable itself (tensors do)
    for _, name in ipairs(type(meta) == "table" and rawget(meta, "names") or {}) do keys[#keys + 1] = name end
    local after = type(index) == "function" and meta or index
    if after == meta then
      for _, name in ipairs(meta.class_name == "Tensor" and PROPERTIES or {}) do keys[#keys + 1] = name end
    end
    if type(after) ~= "table" or after == value then break end
    value = after
  end
  return keys
end

--- The value of "a.b.c" from `root`, without running any call; nil when a step is missing.
local function resolve(path, root)
  local value = root
  for name in path:gmatch "[^%.:]+" do
    local ok, next_value = pcall(function() return value[name] end)
    if not ok or next_value == nil then return nil end
    value = next_value
  end
  return value
end

--- Is value callable, so that it can stand after a colon?
local function callable(value)
  local meta = debug.getmetatable(value)
  return type(value) == "function" or (type(meta) == "table" and rawget(meta, "__call") ~= nil)
end

--- Sorted completions of `word`, whole: complete("mosaic.ten", _G) -> {"mosaic.tensor"}.
return function(word, root)
  local path, separator, start = word:match "^(.-)([%.:]?)([%w_]*)$"
  local owner = path == "" and root or resolve(path, root)
  if owner == nil then return {} end
  local found, seen = {}, {}
  for _, key in ipairs(keys_of(owner)) do
    local fits = key:sub(1, #start) == start and key:find "^[%a_][%w_]*$" and not seen[key]
    if fits and (separator ~= ":" or callable(owner[key])) then
      found[#found + 1], seen[key] = path .. separator .. key, true
    end
  end
  table.sort(found)
  return found
end
