--- Tensors like another: its shape, dtype and device, unless options say otherwise.
local check = require "mosaic.check"
local create = require "mosaic.tensor.create"
local Tensor = require "mosaic.tensor.class"

local function like(where, self, shape, options)
  options = check.options(where, options or {}, { "dtype", "device", "requires_grad" })
  local sizes = { dtype = options.dtype or self.dtype, device = options.device or self.device,
    requires_grad = options.requires_grad }
  for i = 1, #shape do sizes[i] = shape[i] end
  return sizes
end

function Tensor:empty_like(options) return create.empty(like("empty_like", self, self.shape, options)) end
function Tensor:zeros_like(options) return create.zeros(like("zeros_like", self, self.shape, options)) end
function Tensor:ones_like(options) return create.ones(like("ones_like", self, self.shape, options)) end
function Tensor:full_like(value, options)
  return create.full(like("full_like", self, self.shape, options), value)
end

--- Zeros of another shape with self's dtype and device.
function Tensor:zeros_of(shape) return create.zeros(like("zeros_of", self, shape)) end
