--- The random functions between the layers of a causal network, on tensors (units, rows).
--
-- An activation standardises each unit over the rows, then applies f(exp(2 N(0,1)) (x + N(0,1))).
-- f is one of nineteen; the random Fourier function is ten times as likely as each other one.
local mosaic = require "mosaic"

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

local TERMS = 256
local CHUNK = 256 -- points at once: 256 x 256 sines in f32 stay in the cache

--- sum_i a_i sin(f_i x + phase_i): f_i = 256 U, a_i = f_i^-decay normalised, times N(0, 1).
function functions.fourier(x, stream)
  local decay = math.exp(stream:uniform(math.log(0.7), math.log(3)))
  local frequency = stream:uniforms(1, TERMS):mul_(TERMS):clamp_(1e-3, TERMS)
  local phase = stream:uniforms(1, TERMS):mul_(2 * math.pi)
  local size = frequency:pow(-decay)
  local weight = (size / size:square():sum():sqrt() * stream:normals(1, TERMS)):view(TERMS, 1)
  local points, parts = x:contiguous():view(-1, 1), {}
  for first = 1, points:size(1), CHUNK do
    local some = points:slice(1, first, math.min(first + CHUNK - 1, points:size(1)))
    parts[#parts + 1] = (some * frequency):add_(phase):sin_():matmul(weight)
  end
  return mosaic.cat(parts, 1):view(x.shape)
end

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
