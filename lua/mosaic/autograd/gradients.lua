--- The derivative of every simple operation, one row each; record.lua says how to read a row.

local indexing = require "mosaic.autograd.indexing"
local products = require "mosaic.autograd.products"
local create = require "mosaic.tensor.create"

--- Puts g where a view took it from: zeros elsewhere.
local function scatter_view(g, n, view)
  local whole = g:zeros_of(n.inputs[1].shape)
  view(whole):copy_(g)
  return whole
end

local function inverse_order(order)
  local inverse = {}
  for i, axis in ipairs(order) do inverse[axis < 0 and axis + #order + 1 or axis] = i end
  return inverse
end

--- A reduction's result or gradient with the reduced axes back as size 1. n[2] is the axes.
local function keep_axes(t, n)
  local whole, axes, shape = n.inputs[1].shape, n[2], {}
  if type(axes) == "number" then axes = { axes } end
  for i = 1, #whole do shape[i] = axes and whole[i] or 1 end
  for _, axis in ipairs(axes or {}) do shape[axis > 0 and axis or axis + #whole + 1] = 1 end
  return t:reshape(shape)
end

--- g where one operand won, half of it where both are equal.
local function share_of(g, at_least, more)
  return g * (at_least + more) * 0.5
end

local function power_base_gradient(g, n)
  local base, exponent = n[1], n[2]
  if type(exponent) == "number" then
    if exponent == 0 then return g:zeros_like() end
    return g * base:pow(exponent - 1) * exponent
  end
  return g * (exponent * base:pow(exponent - 1)):masked_fill(exponent:eq(0), 0)
end

--- out log(base), and 0 where the base is 0.
local function power_exponent_gradient(g, n)
  return g * (n.out * n[1]:log()):masked_fill(n[1]:eq(0), 0)
end

--- The product of the others: by division, except around zeros.
local function product_gradient(g, n)
  local x = n[1]
  local zero = x:eq(0)
  local zeros = zero:sum(n[2], true)
  local others = x:masked_fill(zero, 1):prod(n[2], true)
  local at_zero = others:where(zeros:eq(1), 0)
  local elsewhere = others:where(zeros:eq(0), 0) / x:masked_fill(zero, 1)
  return keep_axes(g, n) * at_zero:where(zero, elsewhere)
end

--- All elements that attain the extreme value share its gradient.
local function extreme_gradient(g, n)
  local won = n[1]:eq(keep_axes(n.out, n))
  return won * (keep_axes(g, n) / won:sum(n[2], true))
end

--- The gradient goes to the one element along the axis whose index was returned.
local function chosen_gradient(g, n, arg)
  local x, axis = n[1], n[2]
  if axis == nil then return extreme_gradient(g, n) end
  local shape, along = x.shape, {}
  axis = axis > 0 and axis or axis + #shape + 1
  for i = 1, #shape do along[i] = i == axis and shape[i] or 1 end
  local places = create.arange(1, shape[axis], { device = x.device }):view(along)
  return keep_axes(g, n):where(places:eq(x[arg](x, axis, true)), 0)
end

return {
  view = { function(g, n) return g:reshape(n.inputs[1].shape) end },
  permute = { function(g, n)
    return g:permute(inverse_order(type(n[2]) == "table" and n[2] or { unpack(n, 2) }))
  end },
  slice = { function(g, n)
    return scatter_view(g, n, function(whole) return whole:slice(n[2], n[3], n[4], n[5]) end)
  end },
  select = { function(g, n)
    return scatter_view(g, n, function(whole) return whole:select(n[2], n[3]) end)
  end },
  expand = { function(g) return g end },
  matmul = products.matmul,
  linear = products.linear,
  cumsum = { function(g, n) return g:cumsum(n[2], not n[3]) end },
  index_select = { save = { 3 }, indexing.index_select },
  gather = { save = { 3 }, indexing.gather },
  embedding = { save = { 2 }, indexing.embedding },
  index_add = { save = { 3 }, indexing.same, false, false, indexing.index_add_source },
  scatter = { save = { 3 }, indexing.scatter_target, false, false, indexing.scatter_source },
  scatter_add = { save = { 3 }, indexing.same, false, false, indexing.scatter_source },
  softmax = { save = { "out" }, function(g, n) return n.out:softmax_backward(g, n[2]) end },
  log_softmax = { save = { "out" }, function(g, n) return n.out:log_softmax_backward(g, n[2]) end },
  convert = { function(g, n) return g:to { device = n.inputs[1].device } end },

  -- one operand
  neg = { function(g) return g:neg() end },
  abs = { save = { 1 }, function(g, n) return g * n[1]:sign() end },
  sign = { function(g) return g:zeros_like() end },
  floor = { function(g) return g:zeros_like() end },
  ceil = { function(g) return g:zeros_like() end },
  round = { function(g) return g:zeros_like() end },
  square = { save = { 1 }, function(g, n) return g * n[1] * 2 end },
  reciprocal = { save = { "out" }, function(g, n) return -(g * n.out * n.out) end },
  sqrt = { save = { "out" }, function(g, n) return g / n.out * 0.5 end },
  rsqrt = { save = { "out" }, function(g, n) return g * n.out:pow(3) * -0.5 end },
  exp = { save = { "out" }, function(g, n) return g * n.out end },
  expm1 = { save = { "out" }, function(g, n) return g * (n.out + 1) end },
  log = { save = { 1 }, function(g, n) return g / n[1] end },
  log2 = { save = { 1 }, function(g, n) return g / n[1] * (1 / math.log(2)) end },
  log1p = { save = { 1 }, function(g, n) return g / (n[1] + 1) end },
  sin = { save = { 1 }, function(g, n) return g * n[1]:cos() end },
  cos = { save = { 1 }, function(g, n) return -(g * n[1]:sin()) end },
  erf = { save = { 1 }, function(g, n) return g * (-n[1]:square()):exp() * (2 / math.sqrt(math.pi)) end },
  tanh = { save = { "out" }, function(g, n) return g:activation_backward("tanh", n.out) end },
  sigmoid = { save = { "out" }, function(g, n) return g:activation_backward("sigmoid", n.out) end },
  relu = { save = { "out" }, function(g, n) return g:activation_backward("relu", n.out) end },
  silu = { save = { 1 }, function(g, n) return g:activation_backward("silu", n[1]) end },
  gelu = { save = { 1 }, function(g, n)
    return g:activation_backward(n[2] == "tanh" and "gelu_tanh" or "gelu", n[1])
  end },
  softplus = { save = { 1 }, function(g, n) return g:activation_backward("softplus", n[1], n[2] or 1) end },
  elu = { save = { 1 }, function(g, n) return g:activation_backward("elu", n[1], n[2] or 1, 1) end },
  selu = { save = { 1 }, function(g, n)
    return g:activation_backward("elu", n[1], g.SELU_ALPHA, g.SELU_SCALE)
  end },
  leaky_relu = { save = { 1 }, function(g, n)
    return g:activation_backward("leaky_relu", n[1], n[2] or 0.01)
  end },
  clamp = { save = { 1 }, function(g, n)
    return g:activation_backward("clamp", n[1], n[2] or -math.huge, n[3] or math.huge)
  end },

  -- two operands; n[2] may be a number
  add = { function(g) return g end, function(g, n) return n[3] and g * n[3] or g end },
  sub = { function(g) return g end, function(g, n) return g * -(n[3] or 1) end },
  rsub = { function(g) return g:neg() end },
  mul = { save = { 1, 2 }, function(g, n) return g * n[2] end, function(g, n) return g * n[1] end },
  div = { save = { 1, 2 }, function(g, n) return g / n[2] end,
    function(g, n) return -(g * n[1] / n[2]:square()) end },
  rdiv = { save = { 1 }, function(g, n) return g / n[1]:square() * -n[2] end },
  pow = { save = { 1, 2, "out" }, power_base_gradient, power_exponent_gradient },
  rpow = { save = { "out" }, function(g, n) return g * n.out * math.log(n[2]) end },
  maximum = { save = { 1, 2 }, function(g, n) return share_of(g, n[1]:ge(n[2]), n[1]:gt(n[2])) end,
    function(g, n) return share_of(g, n[1]:le(n[2]), n[1]:lt(n[2])) end },
  minimum = { save = { 1, 2 }, function(g, n) return share_of(g, n[1]:le(n[2]), n[1]:lt(n[2])) end,
    function(g, n) return share_of(g, n[1]:ge(n[2]), n[1]:gt(n[2])) end },

  -- three operands
  where = { save = { 2 }, function(g, n) return g:where(n[2], 0) end, false,
    function(g, n) return g:masked_fill(n[2], 0) end },
  masked_fill = { save = { 2 }, function(g, n) return g:masked_fill(n[2], 0) end, false,
    function(g, n) return g:where(n[2], 0) end },
  lerp = { save = { 1, 2, 3 }, function(g, n) return g * (1 - n[3]) end, function(g, n) return g * n[3] end,
    function(g, n) return g * (n[2] - n[1]) end },
  addcmul = { save = { 2, 3 }, function(g) return g end, function(g, n) return g * n[3] * (n[4] or 1) end,
    function(g, n) return g * n[2] * (n[4] or 1) end },
  addcdiv = { save = { 2, 3 }, function(g) return g end, function(g, n) return g / n[3] * (n[4] or 1) end,
    function(g, n) return -(g * n[2] / n[3]:square()) * (n[4] or 1) end },

  -- reductions
  sum = { function(g, n) return keep_axes(g, n):expand(n.inputs[1].shape) end },
  mean = { save = { 1 }, function(g, n)
    return (keep_axes(g, n) / n[1]:reduced_count(n[2])):expand(n.inputs[1].shape)
  end },
  prod = { save = { 1 }, product_gradient },
  amax = { save = { 1, "out" }, extreme_gradient },
  amin = { save = { 1, "out" }, extreme_gradient },
  max = { save = { 1, "out" }, function(g, n) return chosen_gradient(g, n, "argmax") end },
  min = { save = { 1, "out" }, function(g, n) return chosen_gradient(g, n, "argmin") end },
  norm = { save = { 1, "out" }, function(g, n)
    local out = keep_axes(n.out, n)
    return n[1] * (keep_axes(g, n) / out):masked_fill(out:eq(0), 0)
  end },
  logsumexp = { save = { 1, "out" }, function(g, n)
    local out = keep_axes(n.out, n)
    return keep_axes(g, n) * (n[1] - out:masked_fill(out:isfinite():logical_not(), 0)):exp()
  end },
  var = { save = { 1 }, function(g, n)
    local x, options = n[1], n[3] or {}
    local count = x:reduced_count(n[2]) - (options.unbiased == false and 0 or 1)
    return (x - x:mean(n[2], true)) * (keep_axes(g, n) * (2 / count))
  end },
}
