--- `parameter(options, sizes...)`: a new tensor that requires a gradient, not yet filled, with the
-- dtype and device that the layer's options name.
local check = require "mosaic.check"
local create = require "mosaic.tensor.create"

return function(options, ...)
  check.kind("parameter", "options", options, "table")
  local sizes = { ... }
  sizes.dtype, sizes.device, sizes.requires_grad = options.dtype, options.device, true
  return create.empty(sizes)
end
