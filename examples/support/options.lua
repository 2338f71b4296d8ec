--- The command line of the examples: `options.parse("train.lua", "what it does", list, arg)`.
--
-- list: { { "steps", 2500, "training steps" }, { "out", REQUIRED, "folder of the results" }, ... }; a
-- number as the default asks for a number, false for a switch, REQUIRED for a string that must be given,
-- and "" for one that need not. A number's entry may have a limit: `integer = 1`, an integer of at least 1
-- (and of at most `most`); `least = 0`, a finite number of at least 0; `above = 0`, a finite number above
-- 0. `--name value`, `--name=value` and `--switch` are understood.
local mosaic = require "mosaic"
local fail = require "support.fail"

local options = { REQUIRED = {} }

--- The text of --help.
local function usage(program, purpose, list)
  local lines = { ("usage: mosaic-lua [-n RANKS] %s [options]"):format(program), purpose, "" }
  for _, entry in ipairs(list) do
    local name, default = entry[1], entry[2]
    local kind = type(default) == "number" and " N" or type(default) == "boolean" and "" or " S"
    local note = default == options.REQUIRED and "required"
      or (default ~= "" and default ~= false) and ("default %s"):format(tostring(default)) or nil
    lines[#lines + 1] = ("  --%-16s %s%s"):format(name .. kind, entry[3], note and " (" .. note .. ")" or "")
  end
  return table.concat(lines, "\n") .. "\n"
end

local function find(list, name)
  local names = {}
  for i, entry in ipairs(list) do
    if entry[1] == name then return entry end
    names[i] = entry[1]
  end
  local near = mosaic.check.nearest(name, names)
  fail("unknown option '--%s'%s (--help lists them)", name,
    near and (", did you mean '--%s'?"):format(near) or "")
end

local LARGEST = 2 ^ 53 -- the integers up to here are exact

--- What an entry asks of its number, as a text, and whether the value is so; NaN never is.
local function limit(entry, value)
  if entry.integer then
    local text, most = "an integer of at least %d", entry.most or LARGEST
    if entry.most then text = "an integer from %d to " .. most end
    return text:format(entry.integer), value % 1 == 0 and value >= entry.integer and value <= most
  elseif entry.least then
    return ("a number of at least %g"):format(entry.least), value >= entry.least and value < math.huge
  elseif entry.above then
    return ("a number above %g"):format(entry.above), value > entry.above and value < math.huge
  end
  return "a number", true
end

local function convert(entry, text)
  if type(entry[2]) ~= "number" then return text end
  local value = tonumber(text)
  local expected, fits = limit(entry, value or 0)
  if not value or not fits then fail("--%s: expected %s, got '%s'", entry[1], expected, text) end
  return value
end

--- Reads the option at words[i] into `values`; returns the index after it.
local function read(list, words, i, values)
  local name, text = words[i]:match "^%-%-([^=]+)=?(.*)$"
  if not name then fail("expected an option such as --%s, got '%s'", list[1][1], words[i]) end
  local entry, has_text = find(list, name), words[i]:find("=", 1, true)
  if type(entry[2]) == "boolean" then
    values[name] = true
    return i + 1
  elseif not has_text then
    i, text = i + 1, words[i + 1]
    if not text then fail("--%s: a value is missing", name) end
  end
  values[name] = convert(entry, text)
  return i + 1
end

--- The values by name (dashes become underscores). --help prints the text on rank 0 and returns nil.
function options.parse(program, purpose, list, words)
  local values, i = {}, 1
  for _, entry in ipairs(list) do values[entry[1]] = entry[2] end
  for _, word in ipairs(words) do
    if word == "--help" or word == "-h" then
      if mosaic.comm.world().rank == 0 then io.write(usage(program, purpose, list)) end
      return nil
    end
  end
  while words[i] do i = read(list, words, i, values) end
  local result = {}
  for _, entry in ipairs(list) do
    local name, value = entry[1], values[entry[1]]
    if value == options.REQUIRED then fail("--%s is required (--help explains it)", name) end
    result[name:gsub("-", "_")] = value
  end
  return result
end

--- Fails where several ranks would each do the whole work, and write the same files.
function options.check_strategy(strategy)
  local size = mosaic.comm.world().size
  if strategy == "local" and size > 1 then
    fail("--strategy local is for one rank, not %d: start one, or share the rows with --strategy ring", size)
  end
end

return options
