--- Activations as modules: nn.ReLU {}, nn.GELU { approximate = "tanh" }, nn.LeakyReLU { slope = 0.1 }, ...
local check = require "mosaic.check"
local class = require "mosaic.class"
local Module = require "mosaic.nn.module"
local operand = require "mosaic.tensor.operand"

local activation = {}

--- A module around a tensor method; `option` names its one argument, if it has one.
local function define(name, method, option, default)
  local Activation = class(name, Module)
  activation[name] = Activation
  function Activation:init(options)
    check.options(name, options or {}, { option })
    self.argument = option and check.option(name, options or {}, option, type(default), default) or nil
  end
  function Activation:forward(x)
    operand(name, "the input", x)
    return x[method](x, self.argument)
  end
  function Activation:describe()
    return option and option .. " " .. tostring(self.argument) or ""
  end
end

define("ReLU", "relu")
define("ReLU6", "relu6")
define("LeakyReLU", "leaky_relu", "slope", 0.01)
define("ELU", "elu", "alpha", 1)
define("SELU", "selu")
define("GELU", "gelu", "approximate", "none")
define("SiLU", "silu")
define("Softplus", "softplus")
define("Hardtanh", "hardtanh")
define("Tanh", "tanh")
define("Sigmoid", "sigmoid")
define("Softmax", "softmax", "axis", -1)
define("LogSoftmax", "log_softmax", "axis", -1)

return activation
