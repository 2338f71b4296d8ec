--- Losses as functions: nn.cross_entropy(logits, targets), nn.mse_loss(x, y).
-- options.reduction: "mean" (default), "sum" or "none".
local check = require "mosaic.check"

local loss = {}

local REDUCTIONS = { "mean", "sum", "none" }

local function reduction_of(where, options)
  check.options(where, options or {}, { "reduction" })
  return check.one_of(where, "reduction", options and options.reduction or "mean", REDUCTIONS)
end

--- logits (..., classes), targets i64 (...) holding class numbers from 1.
function loss.cross_entropy(logits, targets, options)
  return logits:cross_entropy(targets, { reduction = reduction_of("cross_entropy", options) })
end

--- The mean (or sum) of (x - y)^2.
function loss.mse_loss(x, y, options)
  local reduction, squares = reduction_of("mse_loss", options), (x - y):square()
  if reduction == "none" then return squares end
  return reduction == "sum" and squares:sum() or squares:mean()
end

return loss
