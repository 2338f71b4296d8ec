--- JSON text of a Lua value: sorted keys, numbers that read back the same.
local check = require "mosaic.check"
local marks = require "mosaic.data.json.marks"

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function encode_string(text)
  return '"' .. text:gsub('[%z\1-\31"\\\127]', function(c)
    return ESCAPES[c] or ("\\u%04x"):format(c:byte())
  end) .. '"'
end

local function encode_number(x, path)
  if x ~= x or x == math.huge or x == -math.huge then
    check.fail("json.encode: %s is %s, which JSON cannot say", path, tostring(x))
  end
  if x % 1 == 0 and math.abs(x) < 2 ^ 53 then return ("%d"):format(x) end
  for digits = 15, 17 do
    local text = ("%." .. digits .. "g"):format(x)
    if tonumber(text) == x then return text end
  end
end

local encode -- of any value; path says where in the whole it is

local function encode_list(list, path, depth)
  local parts = {}
  for i = 1, #list do parts[i] = encode(list[i], ("%s[%d]"):format(path, i), depth + 1) end
  return "[" .. table.concat(parts, ",") .. "]"
end

local function encode_object(object, path, depth)
  local keys, parts = {}, {}
  for key in pairs(object) do
    if type(key) ~= "string" then
      check.fail("json.encode: %s has the key %s: keys are strings, or 1..n", path, check.show(key))
    end
    keys[#keys + 1] = key
  end
  table.sort(keys)
  for i, key in ipairs(keys) do
    parts[i] = encode_string(key) .. ":" .. encode(object[key], path .. "." .. key, depth + 1)
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

local function encode_table(value, path, depth)
  if value == marks.null then return "null" end
  if depth > 100 then check.fail("json.encode: %s: more than 100 levels deep, or a cycle", path) end
  local count = 0
  for _ in pairs(value) do count = count + 1 end
  local is_list = getmetatable(value) == marks.List or (count > 0 and count == #value)
  return (is_list and encode_list or encode_object)(value, path, depth)
end

function encode(value, path, depth)
  local kind = type(value)
  if kind == "table" then return encode_table(value, path, depth) end
  if kind == "string" then return encode_string(value) end
  if kind == "number" then return encode_number(value, path) end
  if kind == "boolean" then return tostring(value) end
  check.fail("json.encode: %s is a %s, which JSON cannot say", path, kind)
end

return function(value)
  return encode(value, "the value", 1)
end
