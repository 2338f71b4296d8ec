--- cross_entropy with its fused derivative: softmax minus one at the target, in one pass.
local Function = require "mosaic.autograd.function"
local Tensor = require "mosaic.tensor"

Tensor.cross_entropy = Function("cross_entropy", {
  forward = function(ctx, logits, targets, options)
    local loss, stats = logits:cross_entropy_forward(targets, options)
    ctx:save("logits", logits)
    ctx:save("targets", targets)
    ctx.stats, ctx.options = stats, options
    return loss
  end,
  backward = function(ctx, g)
    return ctx.logits:cross_entropy_backward(g, ctx.targets, ctx.stats, ctx.options)
  end,
})
