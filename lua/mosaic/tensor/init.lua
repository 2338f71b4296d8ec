--- The tensor class with all its methods, without gradients.
local Tensor = require "mosaic.tensor.class"
require "mosaic.tensor.create"
require "mosaic.tensor.shape"
require "mosaic.tensor.like"
require "mosaic.tensor.elementwise"
require "mosaic.tensor.reduce"
require "mosaic.tensor.matmul"
require "mosaic.tensor.normalize"
require "mosaic.tensor.cross_entropy"
require "mosaic.tensor.index"
require "mosaic.tensor.join"
require "mosaic.tensor.sort"
return Tensor
