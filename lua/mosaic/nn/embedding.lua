--- Rows of a table by number: nn.Embedding { entries = 1000, features = 96 }; entries count from 1.
local check = require "mosaic.check"
local class = require "mosaic.class"
local initial = require "mosaic.nn.initial"
local Module = require "mosaic.nn.module"
local operand = require "mosaic.tensor.operand"
local parameter = require "mosaic.nn.parameter"

local Embedding = class("Embedding", Module)

--- weight (entries, features) from N(0, 1).
function Embedding:init(options)
  check.options("Embedding", options, { "entries", "features", "dtype", "device", "generator" })
  local entries = check.integer("Embedding", "entries", options.entries, 1)
  local features = check.integer("Embedding", "features", options.features, 1)
  self.weight = parameter(options, entries, features)
  initial.normal_(self.weight, 0, 1, { generator = options.generator })
end

--- indices i64 (...) -> (..., features)
function Embedding:forward(indices)
  operand("Embedding", "the input", indices)
  return self.weight:embedding(indices)
end

function Embedding:describe()
  return ("%d x %d"):format(self.weight:size(1), self.weight:size(2))
end

return Embedding
