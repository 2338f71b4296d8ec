--- Normalisation over the last axis: nn.LayerNorm { features = 96 }, nn.RMSNorm { features = 96 }.
local check = require "mosaic.check"
local class = require "mosaic.class"
local initial = require "mosaic.nn.initial"
local Module = require "mosaic.nn.module"
local operand = require "mosaic.tensor.operand"
local parameter = require "mosaic.nn.parameter"

local LayerNorm = class("LayerNorm", Module)
local RMSNorm = class("RMSNorm", Module)

--- weight = 1 and bias = 0, unless `affine` (or `bias` alone) is false. eps is added to the biased variance.
function LayerNorm:init(options)
  check.options("LayerNorm", options, { "features", "eps", "affine", "bias", "dtype", "device" })
  self.features = check.integer("LayerNorm", "features", options.features, 1)
  self.eps = check.option("LayerNorm", options, "eps", "number", 1e-5)
  if options.affine ~= false then
    self.weight = initial.ones_(parameter(options, self.features))
    self.bias = options.bias ~= false and initial.zeros_(parameter(options, self.features)) or nil
  end
end

--- Of x, or of x + residual: norm(x, residual) is what norm(x + residual) is, in one pass;
-- residual of x's shape and dtype.
function LayerNorm:forward(x, residual)
  operand("LayerNorm", "the input", x)
  if residual == nil then return x:layer_norm(self.weight, self.bias, self.eps) end
  return x:add_layer_norm(residual, self.weight, self.bias, self.eps)
end

function LayerNorm:describe()
  return ("%d, eps %g"):format(self.features, self.eps)
end

--- As LayerNorm without a mean and a bias: x / sqrt(mean(x^2) + eps) * weight.
function RMSNorm:init(options)
  check.options("RMSNorm", options, { "features", "eps", "affine", "dtype", "device" })
  self.features = check.integer("RMSNorm", "features", options.features, 1)
  self.eps = check.option("RMSNorm", options, "eps", "number", 1e-5)
  self.weight = options.affine ~= false and initial.ones_(parameter(options, self.features)) or nil
end

function RMSNorm:forward(x)
  operand("RMSNorm", "the input", x)
  return x:rms_norm(self.weight, self.eps)
end

RMSNorm.describe = LayerNorm.describe

return { LayerNorm = LayerNorm, RMSNorm = RMSNorm }
