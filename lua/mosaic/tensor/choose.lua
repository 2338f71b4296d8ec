--- Operations on three operands: where, masked_fill, lerp, addcmul, addcdiv.
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local argument = require "mosaic.tensor.argument"
local create = require "mosaic.tensor.create"
local Tensor = require "mosaic.tensor.class"

local blank, wrap, operand, target = Tensor.blank, Tensor.wrap, argument.tensor, argument.target

--- A number as a scalar tensor like `like` (f32 for a fraction among integers); tensors stay.
local function lift(value, like)
  if type(value) ~= "number" then return value end
  local fraction = value % 1 ~= 0 and not like.dtype:match "f"
  return create.full({ dtype = fraction and "f32" or like.dtype, device = like.device }, value)
end

local function ternary(where, c, a, b, d, op, alpha)
  check.call("mosaic_ternary", c, operand(where, a), operand(where, b), operand(where, d), op, alpha or 1)
end

--- self where the mask is 1, other (a tensor or a number) where it is 0.
function Tensor:where(mask, other)
  local c = blank()
  ternary("where", c, mask, self, lift(other, self), C.MOSAIC_TERNARY_WHERE)
  return (wrap(c))
end

--- `value` (a number or a scalar tensor) where the mask is 1, self where it is 0.
function Tensor:masked_fill(mask, value)
  local c = blank()
  ternary("masked_fill", c, mask, lift(value, self), self, C.MOSAIC_TERNARY_WHERE)
  return (wrap(c))
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
    return (wrap(c))
  end
  Tensor[in_place] = function(self, a, b, value)
    local c = target(in_place, self, a, b)
    ternary(in_place, c, self, a, lift(b, self), op, value)
    return self
  end
end

local choose = {}

--- Chooses element by element: a where the mask is 1, b where it is 0; numbers are fine for both.
function choose.where(mask, a, b)
  if type(a) == "number" then
    if getmetatable(b) ~= Tensor then
      b = create.full({ device = mask.device }, argument.number("where", "the third argument", b, 0))
    end
    a = lift(a, b)
  end
  return operand("where", a) and a:where(mask, b)
end

return choose
