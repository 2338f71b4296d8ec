--- The base of every layer and model: an object whose fields hold tensors and other modules.
--
-- A field that holds a tensor is part of the state: a parameter when it requires a gradient, a
-- buffer otherwise. A field that holds a module, or a list of modules, is a child. Fields whose
-- names start with "_" are private and never looked at; module[1], module[2], ... are children too.
-- A parameter's name is its path, such as "blocks.0.norm.weight"; entries of a list count from 0
-- there, as in published state dicts. The order is that of the sorted names: the same on every rank.
--
--   local Net = class("Net", nn.Module)
--   function Net:init(options) self.linear = nn.Linear { in_features = 4, out_features = 2 } end
--   function Net:forward(x) return self.linear(x):relu() end
local check = require "mosaic.check"
local class = require "mosaic.class"

local Module = class "Module"

Module.training = true -- until eval() says otherwise

function Module.init() end

function Module:__call(...)
  return self:forward(...)
end

function Module:forward()
  check.fail("%s has no forward method", self.class_name)
end

--- Is this value a module, of whatever class?
function Module.is(value)
  local Class = type(value) == "table" and getmetatable(value)
  while Class and Class ~= Module do Class = Class.super end
  return Class == Module
end

local function is_list(value)
  return type(value) == "table" and getmetatable(value) == nil and Module.is(value[1])
end

local function add_list(entries, prefix, list)
  for i, value in ipairs(list) do entries[#entries + 1] = { name = prefix .. (i - 1), value = value } end
end

--- The public fields in order: { { name = , value = }, ... }; a list gives an entry for each element.
function Module:fields()
  local names, entries = {}, {}
  for name in pairs(self) do
    if type(name) == "string" and name:sub(1, 1) ~= "_" then names[#names + 1] = name end
  end
  table.sort(names)
  add_list(entries, "", self)
  for _, name in ipairs(names) do
    local value = self[name]
    if is_list(value) then add_list(entries, name .. ".", value) end
    entries[#entries + 1] = { name = name, value = value }
  end
  return entries
end

--- The modules directly below: { { name = , module = }, ... }.
function Module:children()
  local children = {}
  for _, field in ipairs(self:fields()) do
    if Module.is(field.value) then
      children[#children + 1] = { name = field.name, module = field.value }
    end
  end
  return children
end

--- Calls visit(module, path) for this module, then for everything below it; path ends with a dot.
function Module:walk(visit, path)
  check.callable("walk", "the visitor", visit)
  visit(self, path or "")
  for _, child in ipairs(self:children()) do
    child.module:walk(visit, (path or "") .. child.name .. ".")
  end
end

--- Training mode, on or off, for this module and everything below it: what Dropout looks at.
function Module:train(on)
  self:walk(function(module) module.training = on ~= false end)
  return self
end

function Module:eval()
  return self:train(false)
end

--- Calls f(module) for this module and everything below it.
function Module:apply(f)
  check.callable("apply", "f", f)
  self:walk(function(module) f(module) end)
  return self
end

--- What a layer shows in brackets; layers override it.
function Module.describe()
  return ""
end

local function add_lines(lines, module, label, indent)
  lines[#lines + 1] = ("%s%s%s(%s)"):format(indent, label, module.class_name, module:describe())
  for _, child in ipairs(module:children()) do
    add_lines(lines, child.module, child.name .. ": ", indent .. "  ")
  end
  return lines
end

--- The tree of modules, one line each.
function Module:__tostring()
  return table.concat(add_lines({}, self, "", ""), "\n")
end

require "mosaic.nn.state"(Module)

return Module
