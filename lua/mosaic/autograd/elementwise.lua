--- Rows for gradients.lua: functions, arithmetic and choices of single elements.

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

return {
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
  rpow = { save = { "out" }, function(g, n)
    return n[2] == 0 and g:zeros_like() or g * n.out * math.log(n[2])
  end },
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
}
