--- Operations on single elements, with broadcasting: arithmetic, functions, comparisons, choices.
--
-- Dtypes combine as in PyTorch. A Lua number never changes a float tensor's dtype; an integer tensor
-- stays integer with a whole number and becomes f32 with a fraction. Comparisons give u8, 0 or 1.
-- A name with a trailing `_` writes the result into its first operand.
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local create = require "mosaic.tensor.create"
local Tensor = require "mosaic.tensor.class"

local blank, wrap, call = Tensor.blank, Tensor.wrap, check.call

--- The C view of an argument that must be a tensor.
local function operand(where, value)
  if getmetatable(value) == Tensor then return value.c end
  check.fail("%s: expected a tensor (or a number), got %s", where, check.show(value))
end

--- The C view that an in-place form writes; nothing involved may take part in a gradient.
local function target(where, self, ...)
  self:refuse_in_place(where)
  for i = 1, select("#", ...) do
    local other = select(i, ...)
    if getmetatable(other) == Tensor then other:refuse_in_place(where) end
  end
  return self.c
end

-- ---- one operand ----------------------------------------------------------------------------------

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
  local c = blank()
  call("mosaic_unary", c, self.c, op, alpha or 0, beta or 0)
  return wrap(c)
end

local function unary_(where, self, op, alpha, beta)
  local c = target(where, self)
  call("mosaic_unary", c, c, op, alpha or 0, beta or 0)
  return self
end

for name, op in pairs(UNARY) do
  local in_place = name .. "_"
  Tensor[name] = function(self) return unary(self, op) end
  Tensor[in_place] = function(self) return unary_(in_place, self, op) end
end

local function number(where, what, value, default)
  if value == nil then return default end
  if type(value) == "number" then return value end
  check.fail("%s: %s must be a number, got %s", where, what, check.show(value))
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

local GELU = { none = C.MOSAIC_UNARY_GELU, tanh = C.MOSAIC_UNARY_GELU_TANH }

--- x Phi(x); kind "tanh" is the approximation by tanh, "none" (default) the exact one.
function Tensor:gelu(kind)
  local op = GELU[kind or "none"]
  if not op then check.one_of("gelu", "approximation", kind, { "none", "tanh" }) end
  return unary(self, op)
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

-- ---- two operands ---------------------------------------------------------------------------------

local BINARY = {
  add = C.MOSAIC_BINARY_ADD, sub = C.MOSAIC_BINARY_SUB, mul = C.MOSAIC_BINARY_MUL,
  div = C.MOSAIC_BINARY_DIV, pow = C.MOSAIC_BINARY_POW, maximum = C.MOSAIC_BINARY_MAXIMUM,
  minimum = C.MOSAIC_BINARY_MINIMUM, floor_divide = C.MOSAIC_BINARY_FLOOR_DIVIDE,
  remainder = C.MOSAIC_BINARY_REMAINDER, eq = C.MOSAIC_BINARY_EQ, ne = C.MOSAIC_BINARY_NE,
  lt = C.MOSAIC_BINARY_LT, le = C.MOSAIC_BINARY_LE, gt = C.MOSAIC_BINARY_GT, ge = C.MOSAIC_BINARY_GE,
  logical_and = C.MOSAIC_BINARY_LOGICAL_AND, logical_or = C.MOSAIC_BINARY_LOGICAL_OR,
  logical_xor = C.MOSAIC_BINARY_LOGICAL_XOR,
}

local function binary_into(where, c, a, b, op, alpha, beta)
  if type(b) == "number" then
    call("mosaic_binary_scalar", c, a, b, false, op, alpha or 1, beta or 0)
  else
    call("mosaic_binary", c, a, operand(where, b), op, alpha or 1, beta or 0)
  end
end

for name, op in pairs(BINARY) do
  local in_place = name .. "_"
  --- `alpha` scales the second operand of add and sub.
  Tensor[name] = function(self, other, alpha)
    local c = blank()
    binary_into(name, c, self.c, other, op, alpha)
    return wrap(c)
  end
  Tensor[in_place] = function(self, other, alpha)
    local c = target(in_place, self, other)
    binary_into(in_place, c, c, other, op, alpha)
    return self
  end
end

local REVERSED = { rsub = BINARY.sub, rdiv = BINARY.div, rpow = BINARY.pow, rremainder = BINARY.remainder }

--- A number on the left: rsub is value - self, rdiv value / self, rpow value ^ self.
for name, op in pairs(REVERSED) do
  Tensor[name] = function(self, value)
    local c = blank()
    call("mosaic_binary_scalar", c, self.c, number(name, "the left operand", value), true, op, 1, 0)
    return wrap(c)
  end
end

--- An operator: `forward` is the method for a tensor on the left, `reverse` for a number there.
local function operator(forward, reverse)
  return function(a, b)
    if getmetatable(a) == Tensor then return a[forward](a, b) end
    return b[reverse](b, a)
  end
end

Tensor.__add = operator("add", "add")
Tensor.__sub = operator("sub", "rsub")
Tensor.__mul = operator("mul", "mul")
Tensor.__div = operator("div", "rdiv")
Tensor.__pow = operator("pow", "rpow")
Tensor.__mod = operator("remainder", "rremainder")
function Tensor.__unm(a) return a:neg() end

-- ---- derivatives in one pass: self is the gradient of the result --------------------------------------

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
  local c = blank()
  call("mosaic_binary", c, self.c, value.c, BACKWARD[name], alpha or 0, beta or 0)
  return wrap(c)
end

Tensor.SELU_ALPHA, Tensor.SELU_SCALE = SELU_ALPHA, SELU_SCALE

-- ---- three operands -------------------------------------------------------------------------------

--- A number as a scalar tensor like `like`; tensors stay.
local function lift(value, like)
  if type(value) ~= "number" then return value end
  return create.full({ dtype = like.dtype, device = like.device }, value)
end

local function ternary(where, c, a, b, d, op, alpha)
  call("mosaic_ternary", c, operand(where, a), operand(where, b), operand(where, d), op, alpha or 1)
end

--- self where the mask is 1, other (a tensor or a number) where it is 0.
function Tensor:where(mask, other)
  local c = blank()
  ternary("where", c, mask, self, lift(other, self), C.MOSAIC_TERNARY_WHERE)
  return wrap(c)
end

--- `value` (a number or a scalar tensor) where the mask is 1, self where it is 0.
function Tensor:masked_fill(mask, value)
  local c = blank()
  ternary("masked_fill", c, mask, lift(value, self), self, C.MOSAIC_TERNARY_WHERE)
  return wrap(c)
end

function Tensor:masked_fill_(mask, value)
  local c = target("masked_fill_", self, value)
  ternary("masked_fill_", c, mask, lift(value, self), self, C.MOSAIC_TERNARY_WHERE)
  return self
end

local TERNARY = {
  lerp = C.MOSAIC_TERNARY_LERP,       -- self + weight (other - self): lerp(other, weight)
  addcmul = C.MOSAIC_TERNARY_ADDCMUL, -- self + value a b: addcmul(a, b, value)
  addcdiv = C.MOSAIC_TERNARY_ADDCDIV, -- self + value a / b
}

for name, op in pairs(TERNARY) do
  local in_place = name .. "_"
  Tensor[name] = function(self, a, b, value)
    local c = blank()
    ternary(name, c, self, a, lift(b, self), op, value)
    return wrap(c)
  end
  Tensor[in_place] = function(self, a, b, value)
    local c = target(in_place, self, a, b)
    ternary(in_place, c, self, a, lift(b, self), op, value)
    return self
  end
end

local elementwise = {}

--- Chooses element by element: a where the mask is 1, b where it is 0; numbers are fine for both.
function elementwise.where(mask, a, b)
  if type(a) == "number" then
    if getmetatable(b) ~= Tensor then
      b = create.full({ device = mask.device }, number("where", "the third argument", b, 0))
    end
    a = lift(a, b)
  end
  return operand("where", a) and a:where(mask, b)
end

return elementwise
