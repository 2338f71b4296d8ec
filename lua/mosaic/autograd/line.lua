--- The nodes that wait in a walk back, newest first.
--
-- Place i is for the node that was made i - 1 calls before the newest one, so that nothing is sorted. Nodes
-- from longer ago than there are places wait in `far`, until the line begins anew with the newest of them.
-- Lines are used again; between walks all their places are false.
local check = require "mosaic.check"

local PLACES = 4096

local Line = {}
Line.__index = Line

local spare = {}

local function new_line()
  local line = setmetatable({ top = 0, at = 1, last = 0, far = false, current = false }, Line)
  for i = 1, PLACES do line[i] = false end
  return line
end

--- A line for a walk that starts at these edges.
function Line.new(edges)
  local line, top = table.remove(spare) or new_line(), 0
  for i = 1, #edges do top = math.max(top, (edges[i].node or edges[i]).sequence or 0) end
  line.top, line.at, line.last, line.current = top, 1, 0, false
  line.far, line.leaves, line.leaf_count = {}, {}, 0
  return line
end

local function add(line, node)
  local place = line.top - node.sequence + 1
  if place > PLACES then
    line.far[#line.far + 1] = node
  else
    line[place] = node
    if place > line.last then line.last = place end
  end
end

--- A gradient may arrive at this edge: its node, or it itself as a leaf, waits from now on.
function Line:enter(edge)
  local target = edge.node or edge
  if target.state == self then return end
  if target.leaf then
    self.leaf_count = self.leaf_count + 1
    self.leaves[self.leaf_count] = target
  elseif target.state then
    check.fail("backward: %s was already walked back; pass {retain_graph = true} before", target.row.name)
  else
    add(self, target)
  end
  target.state = self
end

--- What is in the next place, up to place `last`: a node or nothing.
function Line:take()
  local at = self.at
  local node = self[at]
  self.at = at + 1
  if node then self[at], self.current = false, node end
  return node
end

--- Begins anew with the nodes from longer ago; false: there are none.
function Line:advance()
  local far, top = self.far, 0
  for i = 1, #far do top = math.max(top, far[i].sequence) end
  self.top, self.at, self.last, self.far = top, 1, 0, {}
  for i = 1, #far do add(self, far[i]) end
  return #far > 0
end

--- Calls visit(target) for every node and leaf whose gradients are not done with.
function Line:each(visit)
  if self.current then visit(self.current) end
  for i = self.at, self.last do
    if self[i] then visit(self[i]) end
  end
  for _, node in ipairs(self.far) do visit(node) end
  for i = 1, self.leaf_count do visit(self.leaves[i]) end
end

--- The walk is over, and the line may be used again.
function Line:done()
  self.current, self.far, self.leaves = false, false, false
  spare[#spare + 1] = self
end

return Line
