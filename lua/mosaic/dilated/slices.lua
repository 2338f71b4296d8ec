--- Rows and heads of tensors by pieces { first, step, count }: views where there is one piece.
local create = require "mosaic.tensor.create"

local slices = {}

--- The piece as a view of x.
function slices.view(x, axis, piece)
  local first, step, count = unpack(piece)
  return x:slice(axis, first, first + (count - 1) * step, step)
end

--- use(the pieces' rows as a tensor), which goes at once: cells are many.
local function with_index(x, pieces, use)
  local index = create.runs(pieces, x.device)
  local result = use(index)
  index:free()
  return result
end

--- The pieces one after the other; second: whether that is a view.
function slices.pick(x, axis, pieces)
  if #pieces == 1 then return slices.view(x, axis, pieces[1]), true end
  return with_index(x, pieces, function(index) return x:index_select(axis, index) end), false
end

--- Adds to what pick would return.
function slices.add(x, axis, pieces, y)
  if #pieces == 1 then return slices.view(x, axis, pieces[1]):add_(y) end
  return with_index(x, pieces, function(index) return x:index_add_(axis, index, y) end)
end

--- Overwrites what pick would return.
function slices.put(x, axis, pieces, y)
  if #pieces == 1 then return slices.view(x, axis, pieces[1]):copy_(y) end
  local shape = {}
  for i = 1, y.ndim do shape[i] = 1 end
  shape[y.ndim + 1 + axis] = y:size(axis)
  return with_index(x, pieces, function(index)
    return x:scatter_(axis, index:view(shape):expand(y.shape), y)
  end)
end

--- Whole segments as a batch axis: of x (batch..., heads, rows, d) the `count` segments of w rows that begin
-- at row `first` -> (batch..., segments, heads, selected rows, d), a view.
function slices.segments(x, first, count, w, r, offset, heads)
  local shape = x.shape
  local rows = #shape - 1
  shape[rows] = count
  table.insert(shape, rows + 1, w)
  x = slices.view(x:narrow(-2, first, count * w), -3, heads)
  shape[rows - 1] = heads[3]
  return x:view(shape):slice(-2, offset + 1, w, r):transpose(-4, -3)
end

return slices
