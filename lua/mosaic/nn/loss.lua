--- Losses as functions: nn.cross_entropy(logits, targets), nn.mse_loss(x, y).
-- options.reduction: "mean" (default), "sum" or "none".
local check = require "mosaic.check"
local operand = require "mosaic.tensor.operand"

local loss = {}

--- logits (..., classes), targets i64 (...) holding class numbers from 1.
loss.cross_entropy = require("mosaic.tensor.cross_entropy").cross_entropy

--- The mean (or sum) of (x - y)^2; x and y have one shape, for a broadcast here is mostly a mistake.
function loss.mse_loss(x, y, options)
  check.options("mse_loss", options or {}, { "reduction" })
  local reduction = check.one_of("mse_loss", "reduction", options and options.reduction or "mean",
    { "mean", "sum", "none" })
  operand("mse_loss", "x", x)
  operand("mse_loss", "y", y)
  if table.concat(x.shape, ",") ~= table.concat(y.shape, ",") then
    check.fail("mse_loss: x is %s, y is %s: the shapes must be equal", x:describe(), y:describe())
  end
  local squares = (x - y):square()
  if reduction == "none" then return squares end
  return squares[reduction](squares)
end

return loss
