--- Products of matrices.
local check = require "mosaic.check"
local gelu = require "mosaic.tensor.gelu"
local operand = require "mosaic.tensor.operand"
local Tensor = require "mosaic.tensor.class"

--- self (..., m, k) times b (..., k, n): leading axes broadcast; a vector on the left is a row, on the
-- right a column, and the result has no axis for it.
function Tensor:matmul(b)
  local c = Tensor.blank()
  check.call("mosaic_matmul", c, self.c, operand("matmul", "the second operand", b))
  return (Tensor.wrap(c))
end

--- self (..., k) times weight (n, k) transposed, plus bias (n) where given: (..., n).
function Tensor:linear(weight, bias)
  local c = Tensor.blank()
  check.call("mosaic_linear", c, self.c, operand("linear", "the weight", weight),
    bias and operand("linear", "the bias", bias) or nil)
  return (Tensor.wrap(c))
end

--- The gradient of linear's input from self, that of its result, added to `sum` where given.
function Tensor:linear_backward(weight, sum)
  local c = Tensor.blank()
  check.call("mosaic_linear_backward", c, self.c, weight.c, sum and sum.c or nil)
  return Tensor.wrap(c)
end

--- linear, then gelu (kind: see there), as one operation; also what linear gives.
function Tensor:linear_gelu_forward(weight, bias, kind)
  local out, product = Tensor.blank(), Tensor.blank()
  check.call("mosaic_linear_gelu", out, product, self.c, operand("linear_gelu", "the weight", weight),
    bias and operand("linear_gelu", "the bias", bias) or nil, gelu("linear_gelu", kind))
  return Tensor.wrap(out), Tensor.wrap(product)
end

--- The gradient of what linear_gelu had before its GELU, from self, that of the linear after it.
function Tensor:linear_gelu_backward(weight, product, kind)
  local c = Tensor.blank()
  local op = gelu("linear_gelu_backward", kind)
  check.call("mosaic_linear_gelu_backward", c, self.c, weight.c, product.c, op)
  return Tensor.wrap(c)
end

--- The gradients of linear's weight and bias; self (rows, n): that of its result, x (rows, k): its input.
function Tensor:linear_gradients(x)
  local weight, bias = Tensor.blank(), Tensor.blank()
  check.call("mosaic_linear_gradients", weight, bias, self.c, operand("linear_gradients", "the input", x))
  return Tensor.wrap(weight), Tensor.wrap(bias)
end

local functions = {}

function functions.linear(x, weight, bias)
  operand("linear", "the input", x)
  return x:linear(weight, bias)
end

return functions
