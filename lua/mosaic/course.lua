--- The course of keys and values round a ring: who holds which block when, and which rows of it.
--
-- Pure arithmetic, the same on every rank. The ring's places are groups of ranks (single ranks in a
-- plain ring, the nodes of a hierarchy in another). A block starts with its owner and goes from place to
-- place, at one step each; only rows travel that some other place can see, and no further than the last
-- place that sees them. With two directions a block's first half goes right and its second half left.
local class = require "mosaic.class"
local Placement = require "mosaic.placement"
local visibility = require "mosaic.visibility"

local Course = class("Course")

--- groups[i + 1]: the ranks (of the plan) at place i; directions: 1 or 2.
function Course:init(plan, groups, directions)
  self.plan, self.groups, self.size = plan, groups, #groups
  self.directions = directions == 2 and { 1, -1 } or { 1 }
  self.legs, self.widest = { {}, {} }, 0
  for _, group in ipairs(groups) do self.widest = math.max(self.widest, #group) end
end

--- Whose block is at `place` at this step of a direction.
function Course:owner(place, direction, step)
  return (place - direction * step) % self.size
end

--- The rows of `rank` that travel in one direction: the first stored one and how many.
local function range_of(self, lane, owner, rank)
  local others = {}
  for place, group in ipairs(self.groups) do
    for _, other in ipairs(place - 1 ~= owner and group or {}) do others[#others + 1] = other end
  end
  local plan = self.plan
  local first, count = visibility.span(plan.mask, plan.queries:joined(others), plan.keys, rank)
  if #self.directions == 1 then return first, count end
  local half = math.ceil(count / 2)
  if lane == 1 then return first, half end
  return first + half, count - half
end

--- At which steps somebody sees the block; its first and last such step.
local function watch(self, leg, direction, owner)
  local plan, keys = self.plan, {}
  for rank = 0, leg.keys.ranks - 1 do
    for _, piece in ipairs(leg.keys:pieces(rank)) do keys[#keys + 1] = piece end
  end
  for step = 1, self.size - 1 do
    local group = self.groups[(owner + direction * step) % self.size + 1]
    leg.seen[step] = visibility.any(plan.mask, plan.queries:joined(group), keys)
    if leg.seen[step] then
      leg.first, leg.last = leg.first or step, step
    end
  end
end

--- What travels of a place's block in a lane (1, or 2 with two directions):
-- { keys = placement over the place's ranks, ranges[i] = { first, count }, seen[step],
--   first, last = the first and last step at which it is seen (last 0: it stays at home) };
-- for as many ranks as the widest place has, those that are missing here with no rows.
function Course:leg(lane, owner)
  local leg = self.legs[lane][owner]
  if leg then return leg end
  local lists = {}
  leg = { ranges = {}, seen = {}, last = 0 }
  for i = 1, self.widest do
    local rank, first, count = self.groups[owner + 1][i], 1, 0
    if rank then first, count = range_of(self, lane, owner, rank) end
    leg.ranges[i], lists[i] = { first, count }, rank and self.plan.keys:cut(rank, first, count) or {}
  end
  leg.keys = Placement(lists)
  watch(self, leg, self.directions[lane], owner)
  self.legs[lane][owner] = leg
  return leg
end

--- How many rows the rank at `place`, the i-th of its group, sends on: all its messages of one tensor.
function Course:rows_sent(place, i)
  local rows = 0
  for lane, direction in ipairs(self.directions) do
    for step = 0, self.size - 2 do
      local leg = self:leg(lane, self:owner(place, direction, step))
      if step < leg.last then rows = rows + leg.ranges[i][2] end
    end
  end
  return rows
end

return Course
