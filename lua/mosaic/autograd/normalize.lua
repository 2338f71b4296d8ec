--- layer_norm and rms_norm with their fused derivatives: the statistics of the rows are kept.
local Function = require "mosaic.autograd.function"
local Tensor = require "mosaic.tensor"

Tensor.layer_norm = Function("layer_norm", {
  pure = true,
  fresh = true,
  forward = function(ctx, x, weight, bias, eps)
    local out, stats = x:layer_norm_forward(weight, bias, eps)
    ctx:save("x", x)
    ctx:save("weight", weight)
    ctx:keep("stats", stats)
    return out
  end,
  backward = function(ctx, g)
    return ctx.x:layer_norm_backward(g, ctx.weight, ctx.stats, ctx.needs)
  end,
})

Tensor.add_layer_norm = Function("add_layer_norm", {
  pure = true,
  forward = function(ctx, x, y, weight, bias, eps)
    local out, sum, stats = x:add_layer_norm_forward(y, weight, bias, eps)
    ctx:save("weight", weight)
    ctx:keep("sum", sum)
    ctx:keep("stats", stats)
    return out
  end,
  backward = function(ctx, g)
    local needs = ctx.needs
    local wanted = { needs[1] or needs[2], needs[3], needs[4] }
    local dx, dweight, dbias = ctx.sum:layer_norm_backward(g, ctx.weight, ctx.stats, wanted)
    return needs[1] and dx, needs[2] and (needs[1] and dx:detach() or dx), dweight, dbias
  end,
})

Tensor.rms_norm = Function("rms_norm", {
  pure = true,
  fresh = true,
  forward = function(ctx, x, weight, eps)
    local out, stats = x:rms_norm_forward(weight, eps)
    ctx:save("x", x)
    ctx:save("weight", weight)
    ctx:keep("stats", stats)
    return out
  end,
  backward = function(ctx, g)
    return ctx.x:rms_norm_backward(g, ctx.weight, ctx.stats, ctx.needs)
  end,
})
