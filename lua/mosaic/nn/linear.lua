--- y = x W^T + b on the last axis: nn.Linear { in_features = 96, out_features = 192 }.
local check = require "mosaic.check"
local class = require "mosaic.class"
local initial = require "mosaic.nn.initial"
local Module = require "mosaic.nn.module"
local operand = require "mosaic.tensor.operand"
local parameter = require "mosaic.nn.parameter"

local Linear = class("Linear", Module)

local OPTIONS = { "in_features", "out_features", "bias", "dtype", "device", "generator" }

--- weight (out_features, in_features) and bias (out_features), both U(+-1/sqrt(in_features)).
function Linear:init(options)
  check.options("Linear", options, OPTIONS)
  local inputs = check.integer("Linear", "in_features", options.in_features, 0)
  local outputs = check.integer("Linear", "out_features", options.out_features, 0)
  self.weight = parameter(options, outputs, inputs)
  self.bias = options.bias ~= false and parameter(options, outputs) or nil
  self:reset(options.generator)
end

function Linear:reset(generator)
  local bound = 1 / math.sqrt(math.max(1, self.weight:size(2)))
  initial.uniform_(self.weight, -bound, bound, { generator = generator })
  if self.bias then initial.uniform_(self.bias, -bound, bound, { generator = generator }) end
end

function Linear:forward(x)
  operand("Linear", "the input", x)
  return x:linear(self.weight, self.bias)
end

function Linear:describe()
  return ("%d -> %d%s"):format(self.weight:size(2), self.weight:size(1), self.bias and "" or ", no bias")
end

return Linear
