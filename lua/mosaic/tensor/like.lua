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

--- The axes, that of the largest stride first: the order in which they lie in memory.
function Tensor:memory_order()
  local order, c = {}, self.c
  for i = 1, c.ndim do order[i] = i end
  table.sort(order, function(a, b)
    local x, y = c.stride[a - 1], c.stride[b - 1]
    return x > y or x == y and a < b
  end)
  return order
end

--- An uninitialised dense tensor of this shape whose axes lie in memory in the given order, so that
-- what was done to its model by views can be undone by views. options: dtype, device.
function Tensor.empty_in_order(shape, order, options)
  local sizes, inverse = { dtype = options.dtype, device = options.device }, {}
  for place, axis in ipairs(order) do sizes[place], inverse[axis] = shape[axis], place end
  local base = create.empty(sizes)
  local result = base:permute(inverse)
  base:free()
  return result
end

--- Zeros of another shape with self's dtype and device.
function Tensor:zeros_of(shape) return create.zeros(like("zeros_of", self, shape)) end
