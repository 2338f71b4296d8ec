--- The C view of an argument that must be a tensor: `operand("linear", "the weight", value)`.
local check = require "mosaic.check"
local Tensor = require "mosaic.tensor.class"

return function(where, what, value)
  if not Tensor.is(value) then
    check.fail("%s: %s must be a tensor, got %s", where, what, check.show(value))
  end
  return value.c
end
