--- Makes what a user's function captures ready for symbols, and puts everything back afterwards.
--
-- While it is traced, lists that it reaches answer to symbols (a temporary metatable), and the names
-- `math` and `math.abs` mean functions that know symbols. Lists are reached through upvalues and
-- globals, fields and functions included.
local check = require "mosaic.check"
local lookup = require "mosaic.program.lookup"
local symbol = require "mosaic.program.symbol"
local Tensor = require "mosaic.tensor"

local MOST_TABLES = 10000 -- that are looked through

local LIBRARY = debug.getinfo(1, "S").source:match "^(.*)program/captured%.lua$"

local function any_symbol(...)
  for i = 1, select("#", ...) do
    if symbol.is((select(i, ...))) then return true end
  end
  return false
end

--- math, with functions that take symbols as well as numbers; and what to put for which value.
local symbolic, substitute = setmetatable({}, { __index = math }), {}
substitute[math.pow] = function(a, b) return a ^ b end
for name, method in pairs(symbol.methods) do
  local original = math[name]
  symbolic[name] = original and function(a, ...)
    if not any_symbol(a, ...) then return original(a, ...) end
    return method(symbol.wrap(symbol.node(a, "take " .. name .. " of")), ...)
  end
  if original then substitute[original] = symbolic[name] end
end
symbolic.pow = substitute[math.pow]
substitute[math] = symbolic

local ANSWERS = { -- of lists, while tracing
  __index = function(list, key)
    if symbol.is(key) then return lookup.index(list, key) end
  end,
}

--- Tables that are nobody's data: the standard library's and Mosaic's.
local function strangers()
  local set = { [_G] = true, [package] = true, [package.loaded] = true }
  for name, module in pairs(package.loaded) do
    local own = name == "mosaic" or name:match "^mosaic%." or name:match "^jit" or rawequal(_G[name], module)
    if own and type(module) == "table" then set[module] = true end
  end
  return set
end

local Visit = {}
Visit.__index = Visit

function Visit:later(undo) self.undo[#self.undo + 1] = undo end

function Visit:table(t)
  self.strangers = self.strangers or strangers()
  if self.seen[t] or self.strangers[t] or Tensor.is(t) or self.count >= MOST_TABLES then return end
  self.seen[t], self.count = true, self.count + 1
  if not getmetatable(t) then
    setmetatable(t, ANSWERS)
    self:later(function() setmetatable(t, nil) end)
  end
  if type(rawget(t, 1)) == "number" then return end
  for _, value in next, t do self:value(value) end
end

--- Globals are looked at when they are asked for.
function Visit:environment(f)
  local original = getfenv(f)
  if not self.environments[original] then
    self.environments[original] = setmetatable({}, {
      __index = function(_, name)
        local value = original[name]
        if substitute[value] then return substitute[value] end
        self:value(value)
        return value
      end,
      __newindex = function(_, name)
        check.fail("%s assigns to the global '%s': it must only compute", self.where, tostring(name))
      end,
    })
  end
  setfenv(f, self.environments[original])
  self:later(function() setfenv(f, original) end)
end

function Visit:upvalues(f)
  for i = 1, 255 do
    local name, value = debug.getupvalue(f, i)
    if not name then return end
    if substitute[value] then
      debug.setupvalue(f, i, substitute[value])
      self:later(function() debug.setupvalue(f, i, value) end)
    else
      self:value(value)
    end
  end
end

function Visit:func(f)
  local info = debug.getinfo(f, "S")
  if self.seen[f] or info.what == "C" or info.source:sub(1, #LIBRARY) == LIBRARY then return end
  self.seen[f] = true
  self:upvalues(f)
  self:environment(f)
end

function Visit:value(value)
  if type(value) == "table" then
    self:table(value)
  elseif type(value) == "function" then
    self:func(value)
  end
end

--- body() with everything that f captures ready for symbols; what it returns.
return function(where, f, body)
  local visit = setmetatable({
    where = where, seen = {}, undo = {}, environments = {}, count = 0,
  }, Visit)
  local ok, a, b = pcall(function()
    visit:value(f)
    return body()
  end)
  for i = #visit.undo, 1, -1 do visit.undo[i]() end
  if not ok then error(a, 0) end
  return a, b
end
