--- The tensor class with all its methods, without gradients.
local Tensor = require "mosaic.tensor.class"
require "mosaic.tensor.create"
require "mosaic.tensor.shape"
return Tensor
