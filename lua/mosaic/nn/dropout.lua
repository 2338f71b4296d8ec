--- Zeroes elements at random while training: nn.Dropout { p = 0.1 }.
--
-- Random numbers come from `generator`, or from the rank's default one, which checkpoint rewinds when it
-- computes again. They are a function of the element's global index: a layer on sharded rows gives
-- `global = { shape = , offset = }` of its shard (see mosaic.rand), and then drops what one rank would.
local check = require "mosaic.check"
local class = require "mosaic.class"
local Module = require "mosaic.nn.module"
local operand = require "mosaic.tensor.operand"
local random = require "mosaic.tensor.random"

local Dropout = class("Dropout", Module)

--- p: the share that becomes 0; the rest is divided by 1 - p.
function Dropout:init(options)
  check.options("Dropout", options, { "p", "generator" })
  self.p = check.option("Dropout", options, "p", "number", 0.5)
  if not (self.p >= 0 and self.p < 1) then
    check.fail("Dropout: p must be at least 0 and below 1, got %g", self.p)
  end
  self.generator = options.generator
end

function Dropout:forward(x, options)
  operand("Dropout", "the input", x)
  options = check.options("Dropout: forward", options or {}, { "global" })
  if not self.training or self.p == 0 then return x end
  local u = x.shape
  u.device, u.generator, u.global = x.device, self.generator, options.global
  return x * (random.rand(u):ge(self.p):to(x.dtype) / (1 - self.p))
end

function Dropout:describe()
  return ("p %g"):format(self.p)
end

return Dropout
