--- Ranks in nodes, and nodes round each other: what both levels of a hierarchy know about keys and ranks.
--
-- Rank i of a node and rank i of every other one are counterparts: only they exchange keys between nodes, so
-- each row crosses a slow link once per node. Where nodes differ in size, the first ranks of each (as many as
-- the smallest node has) carry the keys of all: `even` spreads a node's rows over its carriers.
local class = require "mosaic.class"
local comms = require "mosaic.comm"
local move = require "mosaic.move"
local nodes = require "mosaic.comm.nodes"
local Placement = require "mosaic.placement"
local visibility = require "mosaic.visibility"

local Hierarchy = class("Hierarchy")

local INSIDE, BETWEEN = 1, 2

--- The node and the number in it of a rank, both from 0.
local function seat_of(groups, rank)
  for node, group in ipairs(groups) do
    for number, member in ipairs(group) do
      if member == rank then return node - 1, number - 1 end
    end
  end
end

--- Every node's rows over its first `carriers` ranks, as even as can be.
local function evened(keys, groups, carriers)
  local lists = {}
  for _, group in ipairs(groups) do
    local whole, first = keys:united { group }, 1
    local rows = whole:count(0)
    for i, rank in ipairs(group) do
      local count = math.floor(rows / carriers) + (i <= rows % carriers and 1 or 0)
      if i > carriers then count = 0 end
      lists[rank + 1] = whole:cut(0, first, count)
      first = first + count
    end
  end
  return Placement(lists)
end

--- The plan's ranks in nodes; options as for Comm:nodes. gathers: counterparts do not pass their keys on
-- round a ring, but gather what their nodes can see.
function Hierarchy:init(plan, options, gathers)
  self.gathers = gathers
  self.groups = nodes.of("hierarchical", plan.comm, options)
  self.node, self.number = seat_of(self.groups, plan.comm.rank)
  self.group, self.carriers = self.groups[self.node + 1], math.huge
  local largest = 0
  for _, group in ipairs(self.groups) do
    self.carriers, largest = math.min(self.carriers, #group), math.max(largest, #group)
  end
  self.plan, self.own_keys, self.uneven = plan, plan.keys, largest > self.carriers
  if self.uneven then
    self.plan = plan:with { keys = evened(plan.keys, self.groups, self.carriers) }
  end
end

--- Communicators of this rank's node and of its counterparts; split on first use, and kept.
function Hierarchy:comms()
  local comm, text = self.plan.comm, {}
  for i, group in ipairs(self.groups) do text[i] = table.concat(group, ",") end
  text = table.concat(text, ";")
  comm.hierarchies = comm.hierarchies or {}
  local known = comm.hierarchies[text]
  if not known then
    local carries = self.number < self.carriers
    known = { comm:split(self.node, self.number), comm:split(carries and self.number or nil, self.node) }
    known[2] = known[2] or comms.alone()
    comm.hierarchies[text] = known
  end
  return known[1], known[2]
end

--- The same, as far as arithmetic needs them.
function Hierarchy:preview()
  return self.plan.comm:preview(self.group, self.number), { rank = self.node, size = #self.groups }
end

--- What the rank of this number in a node has when its counterparts have sent what the node can see.
local function gathered(self, node, number)
  local list, plan = {}, self.plan
  if number >= self.carriers then return list end
  local queries = plan.queries:joined(self.groups[node + 1])
  for other, group in ipairs(self.groups) do
    local rank = group[number + 1]
    local first, count = 1, plan.keys:count(rank)
    if other - 1 ~= node then first, count = visibility.span(plan.mask, queries, plan.keys, rank) end
    for _, piece in ipairs(plan.keys:cut(rank, first, count)) do list[#list + 1] = piece end
  end
  return list
end

--- Over this rank's counterparts: which keys they have, and which they gather.
local function exchange(self)
  local have, want = {}, {}
  for node, group in ipairs(self.groups) do
    local carries = self.number < self.carriers
    have[node] = carries and self.plan.keys:pieces(group[self.number + 1]) or {}
    want[node] = gathered(self, node - 1, self.number)
  end
  return Placement(have), Placement(want)
end

--- How keys come to where a node works on them: to its carriers, then from the counterparts. A list of
-- { level = INSIDE or BETWEEN, rank = this one's in that communicator, have, want }.
local function movements(self)
  local list = {}
  if self.uneven then
    local have, want = self.own_keys:only(self.group), self.plan.keys:only(self.group)
    list[1] = { level = INSIDE, rank = self.number, have = have, want = want }
  end
  if self.gathers and self.number < self.carriers then
    local have, want = exchange(self)
    list[#list + 1] = { level = BETWEEN, rank = self.node, have = have, want = want }
  end
  return list
end

--- Keys or values (axis -2), brought to where the node works on them.
function Hierarchy:bring(x)
  local comm = { self:comms() }
  for _, m in ipairs(movements(self)) do x = move(comm[m.level], x, -2, m.have, m.want, self.plan.wire) end
  return x
end

--- Their gradient, from that of what was brought; not recorded.
function Hierarchy:bring_back(g)
  local comm, list = { self:comms() }, movements(self)
  for i = #list, 1, -1 do g = move.back(comm[list[i].level], g, -2, list[i].have, list[i].want) end
  return g
end

--- How many rows this rank sends to bring them.
function Hierarchy:rows_sent()
  local rows = 0
  for _, m in ipairs(movements(self)) do rows = rows + move.rows_sent(m.rank, m.have, m.want) end
  return rows
end

--- The plan of this node's ranks against the keys that were gathered.
function Hierarchy:inside_plan()
  local lists = {}
  for i in ipairs(self.group) do lists[i] = gathered(self, self.node, i - 1) end
  return self.plan:with { queries = self.plan.queries:only(self.group), keys = Placement(lists) }
end

return Hierarchy
