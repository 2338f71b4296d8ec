--- linear and gelu as one operation; what is between them is kept.
local Function = require "mosaic.autograd.function"
local Tensor = require "mosaic.tensor"
local linear = require("mosaic.autograd.products").linear

--- GELU of self (..., k) times weight (n, k) transposed, plus bias (n) where given; kind: see gelu.
Tensor.linear_gelu = Function("linear_gelu", {
  adds = 1,
  pure = true,
  forward = function(ctx, x, weight, bias, kind)
    local out, product = x:linear_gelu_forward(weight, bias, kind)
    ctx:save("x", x)
    ctx:save("weight", weight)
    ctx:keep("product", product)
    ctx.name = kind == "tanh" and "gelu_tanh" or "gelu"
    return out
  end,
  backward = function(ctx, g)
    local needs, operands = ctx.needs, { ctx.x, ctx.weight }
    g = g:activation_backward(ctx.name, ctx.product)
    local dx = needs[1] and linear[1](g, operands, ctx.arrived)
    local dweight = needs[2] and linear[2](g, operands)
    if not needs[3] then g:free() end
    return dx, dweight, needs[3] and g
  end,
})
