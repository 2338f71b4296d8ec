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

--- How many modules from i on are one operation: a linear layer, the GELU after it, and a last linear layer
-- after that (one before another GELU is with that).
local function together(self, i)
  local function is(at, kind) return getmetatable(self[at]) == kind end
  if not (is(i, Linear) and is(i + 1, activation.GELU)) then return 1 end
  return is(i + 2, Linear) and not is(i + 3, activation.GELU) and 3 or 2
end

function Sequential:forward(x)
  local i = 1
  while self[i] do
    local layer, gelu, last, count = self[i], self[i + 1], self[i + 2], together(self, i)
    if count > 1 then operand("Linear", "the input", x) end
    if count == 3 then
      x = x:feed_forward(layer.weight, layer.bias, last.weight, last.bias, gelu.argument)
    elseif count == 2 then
      x = x:linear_gelu(layer.weight, layer.bias, gelu.argument)
    else
      x = layer(x)
    end
    i = i + count
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
