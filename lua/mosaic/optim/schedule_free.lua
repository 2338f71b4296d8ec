--- Schedule-free AdamW: no schedule to choose, and the model to use is an average of all steps.
--
--   optim.ScheduleFreeAdamW { params = , lr = 4e-3, betas = {0.9, 0.999}, eps = 1e-8, weight_decay = 0 }
--
-- Three sequences: z takes the steps, x averages z, and the parameters hold y = (1 - b1) z + b1 x, where
-- gradients are taken. Evaluate and save at x: `optimizer:eval()` puts x into the parameters and
-- `optimizer:train()` puts back exactly the y that was there. From step k = 0 on:
--   v = b2 v + (1 - b2) g^2;  h = g / (sqrt(v / (1 - b2^(k+1))) + eps) + decay y
--   y += c (z - y);  y += lr (b1 (1 - c) - 1) h;  z -= lr h
-- c is this step's share of the average: 1/(k+1), or lr^2 over the sum of lr^2 where lr was changed
-- (with the largest lr so far).
local autograd = require "mosaic.autograd"
local check = require "mosaic.check"
local class = require "mosaic.class"
local create = require "mosaic.tensor.create"
local scope = require "mosaic.tensor.scope"
local Optimizer = require "mosaic.optim.optimizer"

local ScheduleFreeAdamW = class("ScheduleFreeAdamW", Optimizer)

ScheduleFreeAdamW.slots = { "z", "square" }

function ScheduleFreeAdamW:init(options)
  self:setup(options, { "betas", "eps", "weight_decay" }, 2.5e-3)
  self.beta1, self.beta2 = self:betas(options)
  if self.beta1 == 0 then check.fail "ScheduleFreeAdamW: the first of betas must be above 0" end
  self.eps = self:number(options, "eps", 1e-8)
  self.weight_decay = self:number(options, "weight_decay", 0)
  self.largest_lr, self.weight_sum = 0, 0
  for i, p in ipairs(self.params) do self.state["z." .. i] = scope.keep(p:detach():clone()) end
end

--- What belongs to y is refused while the parameters hold x.
function ScheduleFreeAdamW:check_training(where)
  if self.saved_y then
    check.fail("ScheduleFreeAdamW: %s while the parameters hold the average; call train() first", where)
  end
end

function ScheduleFreeAdamW:begin_step()
  self:check_training "step()"
  self.largest_lr = math.max(self.largest_lr, self.lr)
  local weight = self.largest_lr ^ 2
  self.weight_sum = self.weight_sum + weight
  local share = weight > 0 and weight / self.weight_sum or 0
  self.numbers = {
    beta = self.beta2, correction = 1 - self.beta2 ^ (self.steps + 1), eps = self.eps,
    decay = self.weight_decay, share = share, ahead = self.lr * (self.beta1 * (1 - share) - 1), lr = self.lr,
  }
end

function ScheduleFreeAdamW:update(i, y, g)
  y:schedule_free_(self:slot("z", i), self:slot("square", i), g, self.numbers)
end

--- Puts the average x = y + (1 - 1/b1) (z - y) into the parameters, to evaluate or save them.
function ScheduleFreeAdamW:eval()
  if self.saved_y then return self end
  self.saved_y = {}
  autograd.no_grad(function()
    for i, p in ipairs(self.params) do
      self.saved_y[i] = scope.keep(p:detach():clone())
      p:add_(self:slot("z", i):sub(self.saved_y[i]), 1 - 1 / self.beta1)
    end
  end)
  return self
end

--- Puts the training point y back.
function ScheduleFreeAdamW:train()
  local saved = self.saved_y
  self.saved_y = nil
  autograd.no_grad(function()
    for i, y in ipairs(saved or {}) do self.params[i]:copy_(y) end
  end)
  return self
end

--- Goes with parameters that hold y, so it is refused after eval().
function ScheduleFreeAdamW:state_dict()
  self:check_training "state_dict()"
  local state = Optimizer.state_dict(self)
  state.weight_sum = create.tensor(self.weight_sum, { dtype = "f64", device = "cpu" })
  state.largest_lr = create.tensor(self.largest_lr, { dtype = "f64", device = "cpu" })
  return state
end

--- The state of another optimizer, or of fewer parameters, has less.
local function check_whole(self, state)
  local names = { "weight_sum", "largest_lr" }
  for i = 1, #self.params do names[i + 2] = "z." .. i end
  for _, name in ipairs(names) do
    if not state[name] then
      check.fail("load_state_dict: not the state of a ScheduleFreeAdamW of %d parameters: %s is missing",
        #self.params, name)
    end
  end
end

--- The parameters must hold y, as they did when the state was taken.
function ScheduleFreeAdamW:load_state_dict(state)
  check_whole(self, check.kind("load_state_dict", "the state", state, "table"))
  local slots = {}
  for name, t in pairs(state) do slots[name] = t end
  slots.weight_sum, slots.largest_lr = nil, nil
  Optimizer.load_state_dict(self, slots)
  self.weight_sum, self.largest_lr = state.weight_sum:item(), state.largest_lr:item()
  self.saved_y = nil
  return self
end

return ScheduleFreeAdamW
