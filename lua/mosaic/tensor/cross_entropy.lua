--- The loss of classifiers: minus the log of the probability that softmax gives to the right class.
local ffi = require "ffi"
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local operand = require "mosaic.tensor.operand"
local Tensor = require "mosaic.tensor.class"

local REDUCTIONS = { "mean", "sum", "none" }
local ENUM = { mean = C.MOSAIC_REDUCTION_MEAN, sum = C.MOSAIC_REDUCTION_SUM, none = C.MOSAIC_REDUCTION_NONE }
local NEVER = ffi.cast("int64_t", bit.lshift(1LL, 63))

--- The C arguments of the options: the reduction and the target to ignore.
local function read_options(options)
  check.options("cross_entropy", options or {}, { "reduction", "ignore_index" })
  local reduction = options and options.reduction or "mean"
  local ignore = options and options.ignore_index
  if ignore then check.integer("cross_entropy", "ignore_index", ignore) end
  return ENUM[check.one_of("cross_entropy", "reduction", reduction, REDUCTIONS)], ignore or NEVER
end

--- cross_entropy and the statistics that its derivative needs.
function Tensor:cross_entropy_forward(targets, options)
  local loss, stats = Tensor.blank(), Tensor.blank()
  check.call("mosaic_cross_entropy", loss, stats, self.c,
    operand("cross_entropy", "the targets", targets), read_options(options))
  return Tensor.wrap(loss), Tensor.wrap(stats)
end

--- The gradient of the logits self from that of the loss.
function Tensor:cross_entropy_backward(g, targets, stats, options)
  local c = Tensor.blank()
  check.call("mosaic_cross_entropy_backward", c, g.c, self.c, targets.c, stats.c, read_options(options))
  return (Tensor.wrap(c))
end

--- self: logits (..., k); targets (...) i64 in 1..k. options.reduction is "mean" (default), "sum" or
-- "none"; rows whose target is options.ignore_index count nothing, in the mean neither.
function Tensor:cross_entropy(targets, options)
  return (self:cross_entropy_forward(targets, options))
end

return {
  cross_entropy = function(logits, targets, options)
    operand("cross_entropy", "the logits", logits)
    return logits:cross_entropy(targets, options)
  end,
}
