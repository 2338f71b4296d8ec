--- Functions of single elements: exp, gelu, clamp ... Integers stay integers where that makes sense
-- (neg, abs, clamp ...), else the result is f32; predicates give u8. A name with a trailing `_`
-- writes the result into its operand.
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local argument = require "mosaic.tensor.argument"
local gelu = require "mosaic.tensor.gelu"
local Tensor = require "mosaic.tensor.class"

local number = argument.number

local UNARY = {
  neg = C.MOSAIC_UNARY_NEG, abs = C.MOSAIC_UNARY_ABS, sign = C.MOSAIC_UNARY_SIGN,
  square = C.MOSAIC_UNARY_SQUARE, relu = C.MOSAIC_UNARY_RELU, floor = C.MOSAIC_UNARY_FLOOR,
  ceil = C.MOSAIC_UNARY_CEIL, round = C.MOSAIC_UNARY_ROUND, reciprocal = C.MOSAIC_UNARY_RECIPROCAL,
  sqrt = C.MOSAIC_UNARY_SQRT, rsqrt = C.MOSAIC_UNARY_RSQRT, exp = C.MOSAIC_UNARY_EXP,
  expm1 = C.MOSAIC_UNARY_EXPM1, log = C.MOSAIC_UNARY_LOG, log2 = C.MOSAIC_UNARY_LOG2,
  log1p = C.MOSAIC_UNARY_LOG1P, sin = C.MOSAIC_UNARY_SIN, cos = C.MOSAIC_UNARY_COS,
  tanh = C.MOSAIC_UNARY_TANH, sigmoid = C.MOSAIC_UNARY_SIGMOID, erf = C.MOSAIC_UNARY_ERF,
  silu = C.MOSAIC_UNARY_SILU, isnan = C.MOSAIC_UNARY_ISNAN, isfinite = C.MOSAIC_UNARY_ISFINITE,
  logical_not = C.MOSAIC_UNARY_LOGICAL_NOT,
}

local function unary(self, op, alpha, beta)
  local c = Tensor.blank()
  check.call("mosaic_unary", c, self.c, op, alpha or 0, beta or 0)
  return (Tensor.wrap(c))
end

local function unary_(where, self, op, alpha, beta)
  local c = argument.target(where, self)
  check.call("mosaic_unary", c, c, op, alpha or 0, beta or 0)
  return self
end

for name, op in pairs(UNARY) do
  local in_place = name .. "_"
  Tensor[name] = function(self) return (unary(self, op)) end
  Tensor[in_place] = function(self) return unary_(in_place, self, op) end
end

--- Limits the values to [low, high]; nil leaves a side open.
function Tensor:clamp(low, high)
  if low == nil and high == nil then check.fail "clamp: at least one of min and max is needed" end
  return unary(self, C.MOSAIC_UNARY_CLAMP, number("clamp", "min", low, -math.huge),
    number("clamp", "max", high, math.huge))
end

function Tensor:clamp_(low, high)
  return unary_("clamp_", self, C.MOSAIC_UNARY_CLAMP, number("clamp_", "min", low, -math.huge),
    number("clamp_", "max", high, math.huge))
end

--- x Phi(x); kind "tanh" is the approximation by tanh, "none" (default) the exact one.
function Tensor:gelu(kind)
  return (unary(self, gelu("gelu", kind)))
end

--- log(1 + exp(beta x)) / beta
function Tensor:softplus(beta)
  return unary(self, C.MOSAIC_UNARY_SOFTPLUS, number("softplus", "beta", beta, 1))
end

function Tensor:elu(alpha)
  return unary(self, C.MOSAIC_UNARY_ELU, number("elu", "alpha", alpha, 1), 1)
end

local SELU_ALPHA, SELU_SCALE = 1.6732632423543772848, 1.0507009873554804934

function Tensor:selu() return unary(self, C.MOSAIC_UNARY_ELU, SELU_ALPHA, SELU_SCALE) end

function Tensor:leaky_relu(slope)
  return unary(self, C.MOSAIC_UNARY_LEAKY_RELU, number("leaky_relu", "slope", slope, 0.01))
end

function Tensor:relu6() return self:clamp(0, 6) end
function Tensor:hardtanh(low, high) return self:clamp(low or -1, high or 1) end

-- ---- derivatives in one pass: self is the gradient of the result ------------------------------------

local BACKWARD = { -- of the result ...
  tanh = C.MOSAIC_BINARY_TANH_GRAD, sigmoid = C.MOSAIC_BINARY_SIGMOID_GRAD, relu = C.MOSAIC_BINARY_RELU_GRAD,
  -- ... of the argument
  clamp = C.MOSAIC_BINARY_CLAMP_GRAD, gelu = C.MOSAIC_BINARY_GELU_GRAD,
  gelu_tanh = C.MOSAIC_BINARY_GELU_TANH_GRAD, silu = C.MOSAIC_BINARY_SILU_GRAD,
  softplus = C.MOSAIC_BINARY_SOFTPLUS_GRAD, elu = C.MOSAIC_BINARY_ELU_GRAD,
  leaky_relu = C.MOSAIC_BINARY_LEAKY_RELU_GRAD,
}

--- The gradient of the argument of function `name`, given its argument or result (see above).
function Tensor:activation_backward(name, value, alpha, beta)
  local c = Tensor.blank()
  check.call("mosaic_binary", c, self.c, value.c, BACKWARD[name], alpha or 0, beta or 0)
  return (Tensor.wrap(c))
end

Tensor.SELU_ALPHA, Tensor.SELU_SCALE = SELU_ALPHA, SELU_SCALE
