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
local autograd = require "mosaic.autograd"
local check = require "mosaic.check"
local class = require "mosaic.class"
local Tensor = require "mosaic.tensor"

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
local function fields(module)
  local names, entries = {}, {}
  for name in pairs(module) do
    if type(name) == "string" and name:sub(1, 1) ~= "_" then names[#names + 1] = name end
  end
  table.sort(names)
  add_list(entries, "", module)
  for _, name in ipairs(names) do
    local value = module[name]
    if is_list(value) then add_list(entries, name .. ".", value) end
    entries[#entries + 1] = { name = name, value = value }
  end
  return entries
end

--- The modules directly below: { { name = , module = }, ... }.
function Module:children()
  local children = {}
  for _, field in ipairs(fields(self)) do
    if Module.is(field.value) then
      children[#children + 1] = { name = field.name, module = field.value }
    end
  end
  return children
end

--- Calls visit(module, path) for this module, then for everything below it; path ends with a dot.
function Module:walk(visit, path)
  visit(self, path or "")
  for _, child in ipairs(self:children()) do
    child.module:walk(visit, (path or "") .. child.name .. ".")
  end
end

--- Every tensor of the state: { { name = , tensor = }, ... }. A shared one appears under each name.
local function state_entries(module)
  local entries = {}
  module:walk(function(part, path)
    for _, field in ipairs(fields(part)) do
      if Tensor.is(field.value) then
        entries[#entries + 1] = { name = path .. field.name, tensor = field.value }
      end
    end
  end)
  return entries
end

--- The entries that `wanted` accepts, each tensor once.
local function distinct(entries, wanted)
  local list, seen = {}, {}
  for _, entry in ipairs(entries) do
    if wanted(entry.tensor) and not seen[entry.tensor] then
      seen[entry.tensor] = true
      list[#list + 1] = entry
    end
  end
  return list
end

local function iterate(entries)
  local at = 0
  return function()
    at = at + 1
    local entry = entries[at]
    if entry then return entry.name, entry.tensor end
  end
end

local function is_parameter(t) return t.requires_grad end
local function is_buffer(t) return not t.requires_grad end

--- `for name, parameter in model:named_parameters() do`; a shared parameter comes once.
function Module:named_parameters()
  return iterate(distinct(state_entries(self), is_parameter))
end

function Module:named_buffers()
  return iterate(distinct(state_entries(self), is_buffer))
end

--- The list of parameters, in the order of their names' paths.
function Module:parameters()
  local list = {}
  for _, parameter in self:named_parameters() do list[#list + 1] = parameter end
  return list
end

--- How many numbers are trained.
function Module:num_parameters()
  local count = 0
  for _, parameter in self:named_parameters() do count = count + parameter:numel() end
  return count
end

--- All tensors by name, sharing their memory with the module and cut off the tape.
function Module:state_dict()
  local state = {}
  for _, entry in ipairs(state_entries(self)) do state[entry.name] = entry.tensor:detach() end
  return state
end

local function same_shape(a, b)
  return table.concat(a.shape, ",") == table.concat(b.shape, ",")
end

--- What keeps `state` from fitting: lists of sentences, in a fixed order.
local function misfits(entries, state, strict)
  local problems, known = {}, {}
  for _, entry in ipairs(entries) do
    local given = state[entry.name]
    known[entry.name] = true
    if given == nil then
      if strict then problems[#problems + 1] = "missing " .. entry.name end
    elseif not Tensor.is(given) or not same_shape(given, entry.tensor) then
      problems[#problems + 1] = ("%s is %s here and %s there"):format(entry.name,
        entry.tensor:describe(), Tensor.is(given) and given:describe() or type(given))
    end
  end
  local unexpected = {}
  for name in pairs(state) do
    if strict and not known[name] then unexpected[#unexpected + 1] = "unexpected " .. name end
  end
  table.sort(unexpected)
  for _, problem in ipairs(unexpected) do problems[#problems + 1] = problem end
  return problems
end

--- Copies tensors in by name. All names and shapes must fit, or nothing is changed;
-- { strict = false } lets names be missing or unknown.
function Module:load_state_dict(state, options)
  options = check.options("load_state_dict", options or {}, { "strict" })
  local entries = state_entries(self)
  local problems = misfits(entries, state, options.strict ~= false)
  if #problems > 0 then
    check.fail("load_state_dict: %s does not fit: %s", self.class_name, table.concat(problems, "; "))
  end
  autograd.no_grad(function()
    for _, entry in ipairs(entries) do
      if state[entry.name] then entry.tensor:copy_(state[entry.name]) end
    end
  end)
  return self
end

--- Converts the state to another dtype or device: `model:to("f64")`, `model:to{device = "cuda"}`.
-- Integer tensors keep their dtype. The tensors stay the same objects, so an optimizer that was
-- made before still knows them; gradients are dropped.
function Module:to(what)
  local options = type(what) == "string" and { dtype = what } or what
  check.options("to", options, { "dtype", "device" })
  for _, entry in ipairs(distinct(state_entries(self), Tensor.is)) do
    local t = entry.tensor
    local dtype = t.dtype:match "f" and options.dtype or nil
    t.c, t.grad = t:detach():to { dtype = dtype, device = options.device }.c, nil
    if t.requires_grad then t:requires_grad_() end
  end
  return self
end

--- Training mode, on or off, for this module and everything below it: what Dropout looks at.
function Module:train(on)
  self:walk(function(module) module.training = on ~= false end)
  return self
end

function Module:eval()
  return self:train(false)
end

--- Forgets all gradients.
function Module:zero_grad()
  for _, parameter in self:named_parameters() do parameter.grad = nil end
  return self
end

--- Calls f(module) for this module and everything below it.
function Module:apply(f)
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

return Module
