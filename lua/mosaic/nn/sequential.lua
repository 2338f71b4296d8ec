--- Modules one after the other: nn.Sequential { first, second, ... }, and the plain MLP made of them.
local check = require "mosaic.check"
local class = require "mosaic.class"
local activation = require "mosaic.nn.activation"
local Dropout = require "mosaic.nn.dropout"
local Linear = require "mosaic.nn.linear"
local Module = require "mosaic.nn.module"
local operand = require "mosaic.tensor.operand"

local Sequential = class("Sequential", Module)
local MLP = class("MLP", Sequential)

function Sequential:init(modules)
  for _, module in ipairs(check.options("Sequential", modules, {})) do self:add(module) end
end

--- Appends a module; returns the sequence.
function Sequential:add(module)
  if not Module.is(module) then
    check.fail("Sequential: element %d is not a module: %s", #self + 1, check.show(module))
  end
  self[#self + 1] = module
  return self
end

--- A linear layer and the GELU after it are one operation.
function Sequential:forward(x)
  local i = 1
  while self[i] do
    local layer, after = self[i], self[i + 1]
    if getmetatable(layer) == Linear and getmetatable(after) == activation.GELU then
      operand("Linear", "the input", x)
      x, i = x:linear_gelu(layer.weight, layer.bias, after.argument), i + 2
    else
      x, i = layer(x), i + 1
    end
  end
  return x
end

local MLP_OPTIONS = { "sizes", "activation", "dropout", "bias", "dtype", "device", "generator" }

--- nn.MLP { sizes = {4, 32, 32, 2}, activation = nn.GELU, dropout = 0.1 }: a Linear for each pair of
-- neighbouring sizes, an activation (default GELU) between them, and dropout where it is asked for.
function MLP:init(options)
  check.options("MLP", options, MLP_OPTIONS)
  local sizes = check.option("MLP", options, "sizes", "table")
  if #sizes < 2 then check.fail("MLP: sizes needs at least 2 entries, got %d", #sizes) end
  for i = 2, #sizes do
    self:add(Linear { in_features = sizes[i - 1], out_features = sizes[i], bias = options.bias,
      dtype = options.dtype, device = options.device, generator = options.generator })
    if i < #sizes then
      self:add((options.activation or activation.GELU) {})
      if options.dropout then self:add(Dropout { p = options.dropout }) end
    end
  end
end

return { Sequential = Sequential, MLP = MLP }
