--- The random functions between the layers of a causal network, on tensors (units, rows).
--
-- An activation standardises each unit over the rows, then applies f(exp(2 N(0,1)) (x + N(0,1))).
-- f is one of nineteen; the random Fourier function is ten times as likely as each other one.
local fourier = require "nanotabpfn.prior.fourier"

local activation = {}

local functions = {
  tanh = function(x) return x:tanh() end,
  leaky_relu = function(x) return x:leaky_relu(0.01) end,
  elu = function(x) return x:elu() end,
  identity = function(x) return x end,
  selu = function(x) return x:selu() end,
  silu = function(x) return x:silu() end,
  relu = function(x) return x:relu() end,
  softplus = function(x) return x:softplus() end,
  relu6 = function(x) return x:relu6() end,
  hardtanh = function(x) return x:hardtanh() end,
  sign = function(x) return x:sign() end,
  gaussian = function(x) return (-x:square()):exp() end,
  exp = function(x) return x:exp() end,
  root = function(x) return x:abs():sqrt() end,
  indicator = function(x) return x:abs():le(1):to "f32" end,
  sin = function(x) return x:sin() end,
  square = function(x) return x:square() end,
  abs = function(x) return x:abs() end,
}

local NAMES = {} -- of those above; Fourier has its own chance
for name in pairs(functions) do NAMES[#NAMES + 1] = name end
table.sort(NAMES)

functions.fourier = fourier

--- The name of a random function.
function activation.draw(stream)
  local at = stream:integer(1, #NAMES + 10)
  return NAMES[at] or "fourier"
end

--- Applies the named function with fresh random scale and shift. Huge results are cut off, so that no
-- later step meets an infinity.
function activation.apply(name, x, stream)
  local standard = x:layer_norm(nil, nil, 1e-12)
  local scale = math.exp(2 * stream:normal())
  local moved = standard:add_(stream:normal()):mul_(scale)
  return functions[name](moved, stream):clamp(-1e15, 1e15)
end

return activation
