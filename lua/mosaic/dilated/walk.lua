--- The order of dilated attention's work on one rank, the same forward and backward.
--
-- Whole segments in order are strided views with the segments as a batch axis; other rows go segment by
-- segment, first against this rank's own keys, then against those of others, a step of the schedule at a
-- time. What the next step needs is on its way while one computes.
local call = require "mosaic.dilated.call"
local cells = require "mosaic.dilated.cells"
local class = require "mosaic.class"
local Exchange = require "mosaic.dilated.exchange"
local Keys = require "mosaic.dilated.keys"
local Schedule = require "mosaic.dilated.schedule"
local slices = require "mosaic.dilated.slices"

local Walk = class("Walk")

--- visit does the work of a direction: segments(run, rate, queries, keys, options), cell(run, group, cell,
-- keys), and arrived and leave(run, exchange) before and after the cells of a step.
function Walk:init(comm, q, k, v, plan, visit)
  self.plan, self.q, self.k, self.v, self.visit = plan:with { comm = comm }, q, k, v, visit
  self.schedule = Schedule(self.plan, q:size(-3), k:size(-3))
end

--- One group of whole segments: `queries` and `keys` take its rows of a tensor.
function Walk:whole_group(rate, group, count, q_first, k_first)
  local rows = math.ceil((rate.w - group.offset) / rate.r)
  local function queries(x)
    return slices.segments(x, q_first, count, rate.w, rate.r, group.offset, group.q)
  end
  local function keys(x)
    return slices.segments(x, k_first, count, rate.w, rate.r, group.offset, group.kv)
  end
  if rows < 1 then return end
  self.visit.segments(self, rate, queries, keys, call.segments(self.plan, rate, group, rows))
end

--- All groups of whole segments that this rank has; returns the set of these.
function Walk:whole_segments(rate)
  local done, rank, plan = {}, self.plan.comm.rank, self.plan
  if not call.takes_segments(plan, self.q) then return done end
  for _, run in ipairs(cells.whole(plan.queries:pieces(rank), plan.keys:pieces(rank), rate.w)) do
    local from, count, q_first, k_first = unpack(run)
    for m = from, from + count - 1 do done[m] = true end
    for _, group in ipairs(rate.groups) do self:whole_group(rate, group, count, q_first, k_first) end
  end
  return done
end

--- This rank's own keys of a segment, all groups.
function Walk:segment(rate, m)
  local rank = self.plan.comm.rank
  for _, group in ipairs(rate.groups) do
    local own = self.schedule:keys(rate, m, group.offset, rank, rank)
    if own then
      self.visit.cell(self, group, rate.queries[rank + 1][m][group.offset], Keys(group, { { cell = own } }))
    end
  end
end

--- What arrived in a step; parcels of the same queries follow each other and make one call.
function Walk:parcels(list)
  local i, rank = 1, self.plan.comm.rank
  while list[i] do
    local first, parts = list[i], {}
    repeat
      parts[#parts + 1] = list[i]
      i = i + 1
    until not list[i] or list[i].group ~= first.group or list[i].segment ~= first.segment
    local cell = first.rate.queries[rank + 1][first.segment][first.group.offset]
    self.visit.cell(self, first.group, cell, Keys(first.group, parts))
  end
end

function Walk:start(i)
  local step = self.schedule.steps[i]
  return step and Exchange(self.plan, step):start(self.k, self.v)
end

function Walk:go()
  local coming, rank = self:start(1), self.plan.comm.rank
  for _, rate in ipairs(self.schedule.rates) do
    local done = self:whole_segments(rate)
    for _, m in ipairs(rate.segments[rank + 1]) do
      if not done[m] then self:segment(rate, m) end
    end
  end
  for i, step in ipairs(self.schedule.steps) do
    local here = coming
    coming = self:start(i + 1)
    here:arrive()
    self.visit.arrived(self, here)
    self:parcels(step[rank + 1] or {})
    self.visit.leave(self, here)
    here:drop "k"
    here:drop "v"
  end
end

return Walk
