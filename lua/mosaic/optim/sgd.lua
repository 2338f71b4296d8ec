--- Stochastic gradient descent:
--   optim.SGD { params = , lr = , momentum = 0, nesterov = false, weight_decay = 0 }
-- g += decay p; m = momentum m + g (m = g at first); p -= lr m, or lr (g + momentum m) with nesterov.
local check = require "mosaic.check"
local class = require "mosaic.class"
local Optimizer = require "mosaic.optim.optimizer"

local SGD = class("SGD", Optimizer)

SGD.slots = { "momentum" }

function SGD:init(options)
  self:setup(options, { "momentum", "nesterov", "weight_decay" })
  self.momentum = self:number(options, "momentum", 0)
  self.weight_decay = self:number(options, "weight_decay", 0)
  self.nesterov = check.option("SGD", options, "nesterov", "boolean", false)
  if self.nesterov and self.momentum == 0 then check.fail "SGD: nesterov needs a momentum above 0" end
end

function SGD:update(i, p, g)
  if self.weight_decay ~= 0 then g = g + p:detach() * self.weight_decay end
  if self.momentum ~= 0 then
    local m = self:slot("momentum", i)
    m:mul_(self.momentum):add_(g)
    g = self.nesterov and g + m * self.momentum or m
  end
  p:add_(g, -self.lr)
end

return SGD
