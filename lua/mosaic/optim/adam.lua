--- Adam and AdamW:
--   optim.AdamW { params = , lr = 1e-3, betas = {0.9, 0.999}, eps = 1e-8, weight_decay = 0.01 }
-- m and v are the running means of g and g^2, each divided by 1 - beta^step; p -= lr m / (sqrt(v) + eps).
-- Adam adds decay p to the gradient; AdamW shrinks p by lr decay before the step, apart from m and v.
local class = require "mosaic.class"
local scope = require "mosaic.tensor.scope"
local Optimizer = require "mosaic.optim.optimizer"

local Adam = class("Adam", Optimizer)
local OPTIONS = { "betas", "eps", "weight_decay" }

Adam.slots = { "mean", "square" }
Adam.default_decay = 0

function Adam:init(options)
  self:setup(options, OPTIONS, 1e-3)
  self.beta1, self.beta2 = self:betas(options)
  self.eps = self:number(options, "eps", 1e-8)
  self.weight_decay = self:number(options, "weight_decay", self.default_decay)
end

--- The gradient that the running means see.
function Adam:decay(p, g)
  return self.weight_decay ~= 0 and g + p:detach() * self.weight_decay or g
end

local function move(self, p, g, mean, square)
  local step = self.steps + 1
  g = self:decay(p, g)
  mean:lerp_(g, 1 - self.beta1)
  square:lerp_(g:square(), 1 - self.beta2)
  local scale = (square / (1 - self.beta2 ^ step)):sqrt():add_(self.eps)
  p:addcdiv_(mean, scale, -self.lr / (1 - self.beta1 ^ step))
end

function Adam:update(i, p, g)
  scope.run(move, self, p, g, self:slot("mean", i), self:slot("square", i))
end

local AdamW = class("AdamW", Adam)

AdamW.default_decay = 0.01

function AdamW:decay(p, g)
  p:mul_(1 - self.lr * self.weight_decay)
  return g
end

return { Adam = Adam, AdamW = AdamW }
