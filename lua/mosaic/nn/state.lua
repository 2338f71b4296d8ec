--- What a module's tensors are called, and how they are counted, saved, restored and converted.
local autograd = require "mosaic.autograd"
local check = require "mosaic.check"
local devices = require "mosaic.device"
local scope = require "mosaic.tensor.scope"
local Tensor = require "mosaic.tensor"

local State = {} -- the methods that Module gets

--- Every tensor of the state: { { name = , tensor = }, ... }. A shared one appears under each name.
local function state_entries(module)
  local entries = {}
  module:walk(function(part, path)
    for _, field in ipairs(part:fields()) do
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
function State:named_parameters()
  return iterate(distinct(state_entries(self), is_parameter))
end

function State:named_buffers()
  return iterate(distinct(state_entries(self), is_buffer))
end

--- The list of parameters, in the order of their names' paths.
function State:parameters()
  local list = {}
  for _, parameter in self:named_parameters() do list[#list + 1] = parameter end
  return list
end

--- How many numbers are trained.
function State:num_parameters()
  local count = 0
  for _, parameter in self:named_parameters() do count = count + parameter:numel() end
  return count
end

--- All tensors by name, sharing their memory with the module and cut off the tape.
function State:state_dict()
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
function State:load_state_dict(state, options)
  check.kind("load_state_dict", "the state", state, "table")
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
function State:to(what)
  local options = type(what) == "string" and { dtype = what } or what
  check.options("to", options, { "dtype", "device" })
  for _, entry in ipairs(distinct(state_entries(self), Tensor.is)) do
    local t = entry.tensor
    local dtype = t.dtype:match "f" and options.dtype or nil
    t.c, t.grad = scope.keep(t:detach():to { dtype = dtype, device = options.device }).c, nil
    if t.requires_grad then t:requires_grad_() end
  end
  return self
end

function State:cpu() return self:to { device = "cpu" } end

--- On a GPU: `model:cuda()` on this process's own, `model:cuda(1)` on that of this number.
function State:cuda(number) return self:to { device = devices.cuda("cuda", number) } end

--- Forgets all gradients.
function State:zero_grad()
  for _, parameter in self:named_parameters() do parameter.grad = nil end
  return self
end

return function(Module)
  for name, method in pairs(State) do Module[name] = method end
end
