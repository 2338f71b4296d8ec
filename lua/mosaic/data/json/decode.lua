--- A Lua value of a JSON text. Strict: what RFC 8259 does not allow is an error with its place.
local check = require "mosaic.check"
local marks = require "mosaic.data.json.marks"

local MEANINGS = {
  ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t",
}

local source -- what messages call the text that is being decoded

local function fail_at(text, at, expected)
  local _, lines = text:sub(1, at - 1):gsub("\n", "")
  local column = at - (text:sub(1, at - 1):match ".*()\n" or 0)
  local got = at > #text and "the end" or check.show(text:sub(at, at))
  check.fail("%s: line %d, column %d: expected %s, got %s", source, lines + 1, column, expected, got)
end

local function skip(text, at) return text:match("^[ \n\r\t]*()", at) end

local function utf8(code)
  if code < 0x80 then return string.char(code) end
  if code < 0x800 then return string.char(0xc0 + math.floor(code / 64), 0x80 + code % 64) end
  local last = string.char(0x80 + math.floor(code / 64) % 64, 0x80 + code % 64)
  if code < 0x10000 then return string.char(0xe0 + math.floor(code / 4096)) .. last end
  return string.char(0xf0 + math.floor(code / 262144), 0x80 + math.floor(code / 4096) % 64) .. last
end

--- After "\u": the character, and where the text goes on.
local function decode_unicode(text, at)
  local hex = text:match("^%x%x%x%x", at) or fail_at(text, at, "four hex digits")
  local code = tonumber(hex, 16)
  if code < 0xd800 or code > 0xdfff then return utf8(code), at + 4 end
  local low = tonumber(text:match("^\\u(%x%x%x%x)", at + 4) or "0", 16)
  if code > 0xdbff or low < 0xdc00 or low > 0xdfff then fail_at(text, at, "a surrogate pair") end
  return utf8(0x10000 + (code - 0xd800) * 1024 + low - 0xdc00), at + 10
end

local function decode_string(text, at)
  local parts = {}
  at = at + 1
  while true do
    local plain, stop = text:match('^([^%z\1-\31"\\]*)()', at)
    parts[#parts + 1], at = plain, stop
    local c, escaped = text:sub(at, at), text:sub(at + 1, at + 1)
    if c == '"' then return table.concat(parts), at + 1 end
    if c ~= "\\" then fail_at(text, at, "the rest of a string") end
    if escaped == "u" then
      parts[#parts + 1], at = decode_unicode(text, at + 2)
    else
      parts[#parts + 1] = MEANINGS[escaped] or fail_at(text, at + 1, "an escape")
      at = at + 2
    end
  end
end

local function decode_number(text, at)
  local stop = text:match("^%-?%d+()", at) or fail_at(text, at, "a value")
  if text:match("^%-?0%d", at) then fail_at(text, at, "a number without leading zeros") end
  stop = text:match("^%.%d+()", stop) or stop
  stop = text:match("^[eE][+-]?%d+()", stop) or stop
  local value = tonumber(text:sub(at, stop - 1))
  if value == math.huge or value == -math.huge then fail_at(text, at, "a number within range") end
  return value, stop
end

local decode -- the value that starts at `at`, and where the text goes on

local function decode_list(text, at, depth)
  local list = setmetatable({}, marks.List)
  at = skip(text, at + 1)
  if text:sub(at, at) == "]" then return list, at + 1 end
  while true do
    list[#list + 1], at = decode(text, at, depth + 1)
    at = skip(text, at)
    local c = text:sub(at, at)
    if c == "]" then return list, at + 1 end
    if c ~= "," then fail_at(text, at, "',' or ']'") end
    at = skip(text, at + 1)
  end
end

local function decode_member(text, at, object, depth)
  if text:sub(at, at) ~= '"' then fail_at(text, at, "a string") end
  local key, stop = decode_string(text, at)
  if object[key] ~= nil then fail_at(text, at, ("a key other than %q, which came before"):format(key)) end
  stop = skip(text, stop)
  if text:sub(stop, stop) ~= ":" then fail_at(text, stop, "':'") end
  object[key], stop = decode(text, skip(text, stop + 1), depth + 1)
  return skip(text, stop)
end

local function decode_object(text, at, depth)
  local object = {}
  at = skip(text, at + 1)
  if text:sub(at, at) == "}" then return object, at + 1 end
  while true do
    at = decode_member(text, at, object, depth)
    local c = text:sub(at, at)
    if c == "}" then return object, at + 1 end
    if c ~= "," then fail_at(text, at, "',' or '}'") end
    at = skip(text, at + 1)
  end
end

local WORDS = { { "true", true }, { "false", false }, { "null", marks.null } }

function decode(text, at, depth)
  if depth > 100 then fail_at(text, at, "at most 100 levels") end
  local c = text:sub(at, at)
  if c == "{" then return decode_object(text, at, depth) end
  if c == "[" then return decode_list(text, at, depth) end
  if c == '"' then return decode_string(text, at) end
  for _, word in ipairs(WORDS) do
    if text:sub(at, at + #word[1] - 1) == word[1] then return word[2], at + #word[1] end
  end
  return decode_number(text, at)
end

--- name: what messages call the text (default "json.decode").
return function(text, name)
  source = name or "json.decode"
  if type(text) ~= "string" then check.fail("%s: expected a string, got %s", source, type(text)) end
  local value, at = decode(text, skip(text, 1), 1)
  at = skip(text, at)
  if at <= #text then fail_at(text, at, "the end") end
  return value
end
