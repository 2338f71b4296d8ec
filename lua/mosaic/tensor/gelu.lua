--- Which GELU: `gelu("linear_gelu", kind)` is the C operation of "none" (default: exact) or "tanh".
local C = require "mosaic.ffi"
local check = require "mosaic.check"

local OPS = { none = C.MOSAIC_UNARY_GELU, tanh = C.MOSAIC_UNARY_GELU_TANH }

return function(where, kind)
  local op = OPS[kind or "none"]
  if not op then check.one_of(where, "approximation", kind, { "none", "tanh" }) end
  return op
end
