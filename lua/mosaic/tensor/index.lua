--- Elements and slices that an index tensor names. Indices are i64 and count from 1.
local check = require "mosaic.check"
local argument = require "mosaic.tensor.argument"
local create = require "mosaic.tensor.create"
local operand = require "mosaic.tensor.operand"
local Tensor = require "mosaic.tensor.class"

local function axis_of(where, self, axis)
  return check.axis(where, axis, self.c.ndim)
end

--- Whole slices of one axis, in the order of a list of indices.
function Tensor:index_select(axis, index)
  local c = Tensor.blank()
  check.call("mosaic_index_select", c, self.c, axis_of("index_select", self, axis),
    operand("index_select", "the index", index))
  return (Tensor.wrap(c))
end

--- One element per element of the index: out[i][j] = self[index[i][j]][j] for axis 1, and so on.
function Tensor:gather(axis, index)
  local c = Tensor.blank()
  check.call("mosaic_gather", c, self.c, axis_of("gather", self, axis), operand("gather", "the index", index))
  return (Tensor.wrap(c))
end

--- Rows of self (rows, n) for an index (...): (..., n).
function Tensor:embedding(index)
  local c = Tensor.blank()
  check.call("mosaic_embedding", c, self.c, operand("embedding", "the index", index))
  return (Tensor.wrap(c))
end

--- A number stands for a source full of it.
local function source_of(where, self, index, source)
  if type(source) ~= "number" then return operand(where, "the source", source) end
  return create.full({ dtype = self.dtype, device = self.device }, source):expand(index.shape).c
end

--- Writes: self[index[i][j]][j] = source[i][j] for axis 1 (or +=); of several values for one place
-- scatter keeps the last. index_add adds whole slices: self[index[i]] += source[i] for axis 1.
for _, name in ipairs { "scatter", "scatter_add", "index_add" } do
  local function write(where, c, self, axis, index, source)
    check.call("mosaic_" .. name, c, axis_of(where, self, axis), operand(where, "the index", index),
      source_of(where, self, index, source))
  end

  --- In place.
  Tensor[name .. "_"] = function(self, axis, index, source)
    write(name .. "_", argument.target(name .. "_", self, source), self, axis, index, source)
    return self
  end

  Tensor[name] = function(self, axis, index, source)
    local c = Tensor.blank()
    check.call("mosaic_convert", c, self.c, self.c.dtype, nil)
    write(name, c, self, axis, index, source)
    return (Tensor.wrap(c))
  end
end
