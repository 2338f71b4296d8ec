--- A step of optim.ScheduleFreeAdamW on one parameter.
local ffi = require "ffi"
local check = require "mosaic.check"
local argument = require "mosaic.tensor.argument"
local operand = require "mosaic.tensor.operand"
local Tensor = require "mosaic.tensor.class"

local options = ffi.new "mosaic_schedule_free_options"

--- self (y), z and square move as mosaic_schedule_free says, whose options the numbers are, by name.
function Tensor:schedule_free_(z, square, g, numbers)
  local y = argument.target("schedule_free_", self, z, square)
  local o, n = options, numbers
  o.beta, o.correction, o.eps, o.decay = n.beta, n.correction, n.eps, n.decay
  o.share, o.ahead, o.lr = n.share, n.ahead, n.lr
  check.call("mosaic_schedule_free", y, operand("schedule_free_", "z", z),
    operand("schedule_free_", "the mean of squares", square),
    operand("schedule_free_", "the gradient", g), options)
  return self
end
