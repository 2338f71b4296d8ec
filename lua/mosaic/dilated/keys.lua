--- The keys of a segment that a group of heads selects: this rank's own and what arrived of others.
local class = require "mosaic.class"
local join = require "mosaic.tensor.join"
local slices = require "mosaic.dilated.slices"

local Keys = class("Keys")

--- parts: list of { cell, k, v } as they arrived (exchange.lua), or { cell } of this rank's own.
function Keys:init(group, parts)
  self.kv, self.rows, self.parts = group.kv, {}, parts
  for _, part in ipairs(parts) do
    for _, piece in ipairs(part.cell.rows) do self.rows[#self.rows + 1] = piece end
  end
end

--- Are the rows of one view? Then what is written to `take`'s result is written where it came from.
function Keys:is_view()
  return #self.parts == 1 and (self.parts[1].k ~= nil or #self.parts[1].cell.places == 1)
end

--- The rows of x and of what arrived as `name`, (batch..., kv heads of the group, rows, d).
function Keys:take(x, name)
  local list, heads = {}, slices.view(x, -3, self.kv)
  for i, part in ipairs(self.parts) do
    list[i] = part[name] or (slices.pick(heads, -2, part.cell.places))
  end
  return #list == 1 and list[1] or join.cat(list, -2)
end

--- Adds a gradient like `take`'s result to dx and to what will be sent back as `name`.
function Keys:add(dx, name, gradient)
  local before, heads = 0, slices.view(dx, -3, self.kv)
  for _, part in ipairs(self.parts) do
    local rows = gradient:narrow(-2, before + 1, part.cell.count)
    if part[name] then
      part[name]:add_(rows)
    else
      slices.add(heads, -2, part.cell.places, rows)
    end
    before = before + part.cell.count
  end
end

return Keys
