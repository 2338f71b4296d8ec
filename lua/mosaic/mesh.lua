--- Ranks arranged along named axes: pure arithmetic; communicators are split from it on demand.
--
--   local mesh = Mesh({ { "dp", 2 }, { "sp", 4 } }, 8)
--   mesh:coordinate(5, "sp") --> 1
--
-- The last axis varies fastest, so ranks that follow each other (usually on one machine) are
-- neighbours along it.
local check = require "mosaic.check"
local class = require "mosaic.class"

local Mesh = class("Mesh")

--- `axes` is a list of { name, size }; one size may be -1 (inferred from `ranks`).
function Mesh:init(axes, ranks)
  self.axes, self.ranks = {}, check.integer("mesh", "ranks", ranks, 1)
  local product, inferred = 1, nil
  for i, axis in ipairs(check.kind("mesh", "the list of axes", axes, "table")) do
    local name, size = unpack(check.kind("mesh", ("axis %d"):format(i), axis, "table"))
    if type(name) ~= "string" or self.axes[name] then
      check.fail("mesh: axis %d needs a name of its own, got %s", i, check.show(name))
    end
    check.integer("mesh", "size of axis " .. name, size, size == -1 and not inferred and -1 or 1)
    self.axes[i] = { name = name, size = size, place = i }
    self.axes[name] = self.axes[i]
    if size == -1 then inferred = self.axes[i] else product = product * size end
  end
  if inferred then
    inferred.size = math.floor(ranks / product)
    product = product * inferred.size
  end
  if product ~= ranks then
    check.fail("mesh: %s is %d ranks, the world has %d", self:describe(), product, ranks)
  end
end

--- "dp 2 x sp 4"
function Mesh:describe()
  local parts = {}
  for i, axis in ipairs(self.axes) do parts[i] = ("%s %d"):format(axis.name, axis.size) end
  return table.concat(parts, " x ")
end

function Mesh:axis(name)
  local names = {}
  for i, axis in ipairs(self.axes) do names[i] = axis.name end
  return self.axes[check.one_of("mesh", "axis", name, names)]
end

function Mesh:size(name)
  return self:axis(name).size
end

--- Ranks between two neighbours along the axis.
local function step_of(mesh, axis)
  local step = 1
  for i = axis.place + 1, #mesh.axes do step = step * mesh.axes[i].size end
  return step
end

--- Where along the axis a rank sits, from 0.
function Mesh:coordinate(rank, name)
  local axis = self:axis(name)
  return math.floor(rank / step_of(self, axis)) % axis.size
end

--- A number shared by exactly the ranks that differ from `rank` along the axis only: the color by
-- which the world is split.
function Mesh:group(rank, name)
  local axis = self:axis(name)
  return rank - self:coordinate(rank, name) * step_of(self, axis)
end

return Mesh
