--- What all optimizers share: a list of parameters, a step count, and state tensors by name.
--
-- A subclass sets `slots`, the names of its tensors per parameter, and `:update(i, p, g)`, which
-- changes parameter p in place for gradient g; it runs outside the tape. Parameters without a
-- gradient are left alone. `optimizer.lr` may be set between steps (schedules.lua).
local autograd = require "mosaic.autograd"
local check = require "mosaic.check"
local class = require "mosaic.class"
local create = require "mosaic.tensor.create"
local operand = require "mosaic.tensor.operand"
local scope = require "mosaic.tensor.scope"
local Tensor = require "mosaic.tensor"

local Optimizer = class "Optimizer"

Optimizer.slots = {}

local function check_parameters(where, params)
  if type(params) ~= "table" or Tensor.is(params) or #params == 0 then
    check.fail("%s: params must be a list of tensors, such as model:parameters()", where)
  end
  for i, p in ipairs(params) do
    if not Tensor.is(p) or not p.requires_grad then
      check.fail("%s: entry %d of params is not a tensor that requires a gradient: %s", where, i,
        Tensor.is(p) and p:describe() or check.show(p))
    end
  end
  return params
end

--- A number of at least 0 (and below `limit`, where there is one).
function Optimizer:number(options, name, default, limit)
  local value = check.option(self.class_name, options, name, "number", default)
  if not (value >= 0 and (not limit or value < limit)) then
    check.fail("%s: %s must be at least 0%s, got %g", self.class_name, name,
      limit and (" and below %g"):format(limit) or "", value)
  end
  return value
end

--- The two decay rates of the Adam family.
function Optimizer:betas(options)
  local betas = options.betas or { 0.9, 0.999 }
  for i = 1, 2 do
    if not (type(betas[i]) == "number" and betas[i] >= 0 and betas[i] < 1) then
      check.fail("%s: betas must be two numbers at least 0 and below 1, got %s at %d", self.class_name,
        check.show(betas[i]), i)
    end
  end
  return betas[1], betas[2]
end

--- Called by subclasses with their option names; `params` and `lr` are common to all.
function Optimizer:setup(options, names, lr)
  local known = { "params", "lr", unpack(names) }
  check.options(self.class_name, options, known)
  self.params = check_parameters(self.class_name, options.params)
  self.lr = self:number(options, "lr", lr)
  self.steps = 0
  self.state = {}
end

--- The tensor `slot` of parameter i; zeros the first time. It follows the parameter to another dtype or
-- device, as after model:to("f64").
function Optimizer:slot(slot, i)
  local name, p = slot .. "." .. i, self.params[i]
  local t = self.state[name]
  if t and t.dtype == p.dtype and t.device == p.device then return t end
  self.state[name] = scope.keep(t and t:to { dtype = p.dtype, device = p.device } or p:detach():zeros_like())
  return self.state[name]
end

--- Before the parameters of a step are updated; subclasses compute what they share.
function Optimizer.begin_step() end

--- One step with the gradients that backward has left in the parameters.
function Optimizer:step()
  autograd.no_grad(function()
    self:begin_step()
    for i, p in ipairs(self.params) do
      if p.grad then self:update(i, p, p.grad) end
    end
    self.steps = self.steps + 1
  end)
end

--- Forgets the gradients, so that the next backward starts afresh.
function Optimizer:zero_grad()
  for _, p in ipairs(self.params) do p.grad = nil end
end

--- Everything needed to go on later, as tensors by name: fit for mosaic.save.
function Optimizer:state_dict()
  local state = {
    steps = create.tensor(self.steps, { dtype = "f64", device = "cpu" }),
    lr = create.tensor(self.lr, { dtype = "f64", device = "cpu" }),
  }
  for name, t in pairs(self.state) do state[name] = t end
  return state
end

local function check_slot(self, name, t)
  local slot, i = name:match "^(.*)%.(%d+)$"
  local p = self.params[tonumber(i)]
  local known = false
  for _, own in ipairs(self.slots) do known = known or own == slot end
  if not known or not p or table.concat(p.shape, ",") ~= table.concat(t.shape, ",") then
    check.fail("load_state_dict: %s %s does not fit this %s of %d parameters%s", name, t:describe(),
      self.class_name, #self.params, p and (" (parameter %d is %s)"):format(i, p:describe()) or "")
  end
end

--- Takes over what state_dict gave; the parameters must be the same, in the same order.
function Optimizer:load_state_dict(state)
  check.kind("load_state_dict", "the state", state, "table")
  if not state.steps or not state.lr then
    check.fail("load_state_dict: not the state of an optimizer: steps or lr is missing")
  end
  local own = {}
  for name, t in pairs(state) do
    operand("load_state_dict", tostring(name), t)
    if name ~= "steps" and name ~= "lr" then
      check_slot(self, name, t)
      local p = self.params[tonumber(name:match "%d+$")]
      own[name] = scope.keep(t:convert(p.dtype, p.device))
    end
  end
  self.steps, self.lr, self.state = state.steps:item(), state.lr:item(), own
  return self
end

return Optimizer
