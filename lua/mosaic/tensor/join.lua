--- Tensors side by side, and cut apart again: mosaic.cat{a, b}, mosaic.stack{a, b}, x:split(2), x:chunk(3).
local ffi = require "ffi"
local check = require "mosaic.check"
local operand = require "mosaic.tensor.operand"
local Tensor = require "mosaic.tensor.class"

local join = {}

local function list_of(where, list)
  if type(list) ~= "table" or Tensor.is(list) then
    check.fail("%s: expected a list of tensors, got %s", where,
      Tensor.is(list) and list:describe() or check.show(list))
  end
  if #list == 0 then check.fail("%s: there is nothing to join", where) end
  for i = 1, #list do operand(where, ("part %d"):format(i), list[i]) end
  return list
end

--- The parts along an existing axis (default 1).
function join.cat(list, axis)
  local first, count = list_of("cat", list)[1], #list
  local parts = ffi.new("const mosaic_tensor *[?]", count)
  for i = 1, count do parts[i - 1] = list[i].c end
  local c = Tensor.blank()
  check.call("mosaic_cat", c, count, parts, check.axis("cat", axis or 1, first.c.ndim))
  return (Tensor.wrap(c))
end

--- The parts, all of one shape, along a new axis (default 1).
function join.stack(list, axis)
  local ndim = list_of("stack", list)[1].c.ndim
  local at, parts = check.axis("stack", axis or 1, ndim + 1) + 1, {}
  for i, part in ipairs(list) do
    if part.c.ndim ~= ndim then
      check.fail("stack: part %d is %s, part 1 is %s", i, part:describe(), list[1]:describe())
    end
    parts[i] = part:unsqueeze(at)
  end
  return join.cat(parts, at)
end

--- Sizes of pieces: the given ones, which must add up, or equal ones with a smaller last one.
local function piece_sizes(self, sizes, axis)
  local whole = self:size(axis)
  if type(sizes) == "table" then
    local sum = 0
    for i, size in ipairs(sizes) do sum = sum + check.integer("split", ("size %d"):format(i), size, 0) end
    if sum ~= whole then
      check.fail("split: the sizes add up to %d, axis %d of %s has %d", sum, axis, self:describe(), whole)
    end
    return sizes
  end
  local pieces, left = {}, whole
  check.integer("split", "the size", sizes, 1)
  repeat
    pieces[#pieces + 1] = math.min(sizes, left)
    left = left - pieces[#pieces]
  until left == 0
  return pieces
end

--- A list of views: pieces of `sizes` (one number, or a list that adds up) along an axis (default 1).
function Tensor:split(sizes, axis)
  local at = check.axis("split", axis or 1, self.c.ndim) + 1
  local views, start = {}, 1
  for i, size in ipairs(piece_sizes(self, sizes, at)) do
    views[i] = self:narrow(at, start, size)
    start = start + size
  end
  return views
end

--- A list of views: `count` equal pieces along an axis (default 1), the last ones smaller or left out
-- where the size does not divide.
function Tensor:chunk(count, axis)
  local at = check.axis("chunk", axis or 1, self.c.ndim) + 1
  check.integer("chunk", "the count", count, 1)
  return self:split(math.max(1, math.ceil(self:size(at) / count)), at)
end

return join
