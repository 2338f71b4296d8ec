--- What a mask may say, checked and brought into one form before anything is computed or sent.
--
-- A mask is a table whose entries combine; see attention.lua for what they mean. `mask.normal` gives a
-- new table in which window is { left, right }, documents { q = ids, k = ids }, lists are tensors, and
-- functions are programs.
local check = require "mosaic.check"
local create = require "mosaic.tensor.create"
local program = require "mosaic.program"
local state = require "mosaic.state"
local Tensor = require "mosaic.tensor"
local values = require "mosaic.values"

local mask = {}

local NAMES = { "causal", "window", "prefix", "documents", "alibi", "keep", "bias", "score" }

--- A tensor, or a Lua list made into one, there where it will be used.
function mask.as_tensor(where, name, value, dtype, device)
  if Tensor.is(value) then return value end
  if type(value) == "table" then return create.tensor(value, { dtype = dtype, device = device }) end
  check.fail("%s: %s must be a tensor or a list, got %s", where, name, check.show(value))
end

local function expect_tensor(where, name, value)
  if Tensor.is(value) then return value end
  check.fail("%s: %s must be a tensor, got %s", where, name, check.show(value))
end

local normal = {}

function normal.causal(where, value)
  if type(value) == "boolean" then return value end
  check.fail("%s: mask.causal must be true or false, got %s", where, check.show(value))
end

function normal.window(where, value)
  local left, right = value, value
  if type(value) == "table" then left, right = value[1], value[2] end
  check.integer(where, "mask.window (left)", left, 0)
  return { left, check.integer(where, "mask.window (right)", right, 0) }
end

function normal.prefix(where, value)
  return check.integer(where, "mask.prefix", value, 0)
end

function normal.documents(where, value, device)
  local q, k = value, value
  if type(value) == "table" and not Tensor.is(value) and (value.q or value.k) then
    q, k = value.q, value.k
  end
  return {
    q = mask.as_tensor(where, "mask.documents (of queries)", q, "i64", device),
    k = mask.as_tensor(where, "mask.documents (of keys)", k, "i64", device),
  }
end

--- Slopes have no gradient, so wanting one is an error.
function normal.alibi(where, value, device)
  local slopes = mask.as_tensor(where, "mask.alibi", value, "f64", device)
  if not (slopes.requires_grad and state.current.recording) then return slopes end
  check.fail("%s: mask.alibi %s wants a gradient, but has none: use mask.bias, or detach them", where,
    slopes:describe())
end

--- The program of a function, or one that was made before.
local function program_of(where, kind, value)
  if type(value) == "function" then return program[kind](value, where .. ": mask." .. kind) end
  if value.kind == kind then return value end
  check.fail("%s: mask.%s is a program made by mosaic.program.%s", where, kind, value.kind)
end

local function is_code(value) return type(value) == "function" or program.is(value) end

function normal.keep(where, value)
  if is_code(value) then return program_of(where, "keep", value) end
  if Tensor.is(value) then return value end
  check.fail("%s: mask.keep must be a tensor or a function, got %s", where, check.show(value))
end

function normal.score(where, value)
  if is_code(value) then return program_of(where, "score", value) end
  check.fail("%s: mask.score must be a function, got %s", where, check.show(value))
end

function normal.bias(where, value) return expect_tensor(where, "mask.bias", value) end

--- The mask (nil: none) in its normal form, for work on `device` (nil: the default one); fails on unknown
-- entries and wrong types.
function mask.normal(where, value, device)
  local result = {}
  check.options(where .. ": mask", value or {}, NAMES)
  for name, entry in pairs(value or {}) do
    if not normal[name] then check.fail("%s: mask has an entry %s", where, check.show(name)) end
    result[name] = normal[name](where, entry, device)
  end
  return result
end

local text = {}

function text.window(value) return ("{%d, %d}"):format(value[1], value[2]) end
function text.alibi(value) return "{" .. table.concat(values.of(value), ", ") .. "}" end

function text.score(value) return value:describe() end

local function ids_frame(ids)
  local shape = ids.shape
  shape[#shape] = "n"
  return ("%s [%s]"):format(ids.dtype, table.concat(shape, ","))
end

--- The ids' batch axes, and whether queries and keys share one tensor: it is gathered once then.
function text.documents(value)
  if value.q == value.k then return ids_frame(value.q) end
  return ("{q: %s, k: %s}"):format(ids_frame(value.q), ids_frame(value.k))
end

--- A tensor's dtype and its sizes but that of the queries, which may differ between ranks.
function text.keep(value)
  if program.is(value) then return value:describe() end
  local shape = value.shape
  if #shape > 1 then shape[#shape - 1] = "n" end
  return ("%s [%s]"):format(value.dtype, table.concat(shape, ","))
end

text.bias = text.keep

--- What all ranks must agree on in a normal mask, as text: "causal=true prefix=7".
function mask.describe(value)
  local parts = {}
  for _, name in ipairs(NAMES) do
    if value[name] ~= nil then
      parts[#parts + 1] = name .. "=" .. (text[name] or tostring)(value[name])
    end
  end
  return #parts > 0 and table.concat(parts, " ") or "none"
end

--- Of a tensor; a program is for any rows and keys.
local function last_sizes(t)
  if program.is(t) then return 1, 1 end
  local shape = t.shape
  return shape[#shape - 1] or 1, shape[#shape] or 1
end

--- Fails unless a normal mask fits so many queries and, where given, keys of this rank.
function mask.check_rows(where, value, queries, keys)
  local ids = value.documents
  if ids and (ids.q:size(-1) ~= queries or ids.k:size(-1) ~= keys) then
    check.fail("%s: mask.documents has ids for %d queries and %d keys, the rows are %d and %d", where,
      ids.q:size(-1), ids.k:size(-1), queries, keys)
  end
  for _, name in ipairs { "keep", "bias" } do
    local rows = value[name] and last_sizes(value[name]) or 1
    if rows ~= 1 and rows ~= queries then
      check.fail("%s: mask.%s %s is not for %d queries", where, name, value[name]:describe(), queries)
    end
  end
end

--- Fails unless keep and bias have a column for each of all ranks' keys.
function mask.check_columns(where, value, keys)
  for _, name in ipairs { "keep", "bias" } do
    local columns = value[name] and select(2, last_sizes(value[name])) or 1
    if columns ~= 1 and columns ~= keys then
      check.fail("%s: mask.%s %s is not for the %d keys of all ranks", where, name,
        value[name]:describe(), keys)
    end
  end
end

return mask
