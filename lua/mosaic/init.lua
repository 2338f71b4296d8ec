--- Mosaic: `local mosaic = require "mosaic"`.
local create = require "mosaic.tensor.create"
local autograd = require "mosaic.autograd"

local mosaic = {
  Tensor = require "mosaic.tensor",
  no_grad = autograd.no_grad,
}

for _, name in ipairs { "tensor", "empty", "zeros", "ones", "full", "arange" } do
  mosaic[name] = create[name]
end

return mosaic
