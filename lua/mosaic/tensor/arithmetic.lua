--- Operations on two operands, with broadcasting: arithmetic, comparisons, logic, and the operators.
--
-- Dtypes combine as in PyTorch. A Lua number never changes a float tensor's dtype; an integer tensor
-- stays integer with a whole number and becomes f32 with a fraction. Comparisons give u8, 0 or 1.
-- A name with a trailing `_` writes the result into its first operand.
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local argument = require "mosaic.tensor.argument"
local Tensor = require "mosaic.tensor.class"

local blank, wrap, call, target = Tensor.blank, Tensor.wrap, check.call, argument.target

local SCALED = { add = C.MOSAIC_BINARY_ADD, sub = C.MOSAIC_BINARY_SUB } -- the second operand, by alpha

local BINARY = {
  mul = C.MOSAIC_BINARY_MUL, div = C.MOSAIC_BINARY_DIV, pow = C.MOSAIC_BINARY_POW,
  maximum = C.MOSAIC_BINARY_MAXIMUM, minimum = C.MOSAIC_BINARY_MINIMUM,
  floor_divide = C.MOSAIC_BINARY_FLOOR_DIVIDE, remainder = C.MOSAIC_BINARY_REMAINDER,
  eq = C.MOSAIC_BINARY_EQ, ne = C.MOSAIC_BINARY_NE, lt = C.MOSAIC_BINARY_LT, le = C.MOSAIC_BINARY_LE,
  gt = C.MOSAIC_BINARY_GT, ge = C.MOSAIC_BINARY_GE, logical_and = C.MOSAIC_BINARY_LOGICAL_AND,
  logical_or = C.MOSAIC_BINARY_LOGICAL_OR, logical_xor = C.MOSAIC_BINARY_LOGICAL_XOR,
}

local function binary_into(where, c, a, b, op, alpha)
  if type(b) == "number" then
    call("mosaic_binary_scalar", c, a, b, false, op, alpha, 0)
  else
    call("mosaic_binary", c, a, argument.tensor(where, b), op, alpha, 0)
  end
end

for name, op in pairs(SCALED) do
  local in_place = name .. "_"
  --- self + alpha other, self - alpha other; alpha is 1 by default.
  Tensor[name] = function(self, other, alpha)
    local c = blank()
    binary_into(name, c, self.c, other, op, argument.number(name, "alpha", alpha, 1))
    return (wrap(c))
  end
  Tensor[in_place] = function(self, other, alpha)
    local c = target(in_place, self, other)
    binary_into(in_place, c, c, other, op, argument.number(in_place, "alpha", alpha, 1))
    return self
  end
end

for name, op in pairs(BINARY) do
  local in_place = name .. "_"
  Tensor[name] = function(self, other)
    local c = blank()
    binary_into(name, c, self.c, other, op, 1)
    return (wrap(c))
  end
  Tensor[in_place] = function(self, other)
    local c = target(in_place, self, other)
    binary_into(in_place, c, c, other, op, 1)
    return self
  end
end

local REVERSED = { rsub = SCALED.sub, rdiv = BINARY.div, rpow = BINARY.pow, rremainder = BINARY.remainder }

--- A number on the left: rsub is value - self, rdiv value / self, rpow value ^ self.
for name, op in pairs(REVERSED) do
  Tensor[name] = function(self, value)
    local c = blank()
    call("mosaic_binary_scalar", c, self.c, argument.number(name, "the left operand", value), true, op, 1, 0)
    return (wrap(c))
  end
end

--- An operator: `forward` is the method for a tensor on the left, `reverse` for a number there.
local function operator(forward, reverse)
  return function(a, b)
    if getmetatable(a) == Tensor then return (a[forward](a, b)) end
    return (b[reverse](b, a))
  end
end

Tensor.__add = operator("add", "add")
Tensor.__sub = operator("sub", "rsub")
Tensor.__mul = operator("mul", "mul")
Tensor.__div = operator("div", "rdiv")
Tensor.__pow = operator("pow", "rpow")
Tensor.__mod = operator("remainder", "rremainder")
function Tensor.__unm(a) return a:neg() end
