--- Which rank needs which keys of a dilated pattern, and when they travel: pure arithmetic.
--
-- A rank's queries of a segment see keys of that segment only. What it needs of the others comes in parcels
-- { rate, segment, group, owner, cell, length }: some of the owner's rows of the cell, for the group's
-- key/value heads (length rows of single heads in all). A step has about a sixteenth of a shard for every
-- rank, which bounds what is held, wherever the rows of a segment are. In each step a rank goes through
-- the others from the one before it on, so that no one is asked by all.
local cells = require "mosaic.dilated.cells"
local class = require "mosaic.class"
local pattern = require "mosaic.dilated.pattern"
local visibility = require "mosaic.visibility"
local wire = require "mosaic.wire"

local Schedule = class("Schedule")

local NONE = {}
local PARTS, LEAST = 16, 128 -- of a shard make a step, and at least so many rows

--- The keys of `owner` that matter to `receiver`'s queries of a segment and an offset; nil: none.
function Schedule:keys(rate, m, offset, receiver, owner)
  local queries = (rate.queries[receiver + 1][m] or NONE)[offset]
  local keys = (rate.keys[owner + 1][m] or NONE)[offset]
  if not queries or not keys then return nil end
  local cell = cells.within(keys, visibility.reach(self.plan.mask, visibility.extent(queries.rows)))
  return cell.count > 0 and cell or nil
end

local function sorted(set)
  local list = {}
  for m in pairs(set) do list[#list + 1] = m end
  table.sort(list)
  return list
end

--- Every rank's cells of a rate, the segments of its queries, and which ranks have keys in which segment.
local function find_cells(rate, plan)
  rate.queries, rate.keys, rate.segments, rate.owners = {}, {}, {}, {}
  for rank = 0, plan.comm.size - 1 do
    rate.queries[rank + 1] = cells.of(plan.queries:pieces(rank), rate.w, rate.r)
    rate.segments[rank + 1] = sorted(rate.queries[rank + 1])
    rate.keys[rank + 1] = cells.of(plan.keys:pieces(rank), rate.w, rate.r)
    for m in pairs(rate.keys[rank + 1]) do
      rate.owners[m] = rate.owners[m] or {}
      table.insert(rate.owners[m], rank)
    end
  end
end

--- The ranks of a list but for one, from the one before it on.
local function others(list, rank)
  local before, after = {}, {}
  for i = #list, 1, -1 do
    if list[i] < rank then before[#before + 1] = list[i] end
    if list[i] > rank then after[#after + 1] = list[i] end
  end
  for _, other in ipairs(after) do before[#before + 1] = other end
  return before
end

--- Puts a parcel into the receiver's last step, or a new one where that is full.
function Schedule:add(receiver, parcel)
  local filled = self.filled[receiver + 1] or { step = 1, length = 0 }
  self.filled[receiver + 1] = filled
  if filled.length > 0 and filled.length + parcel.length > self.room then
    filled.step, filled.length = filled.step + 1, 0
  end
  filled.length = filled.length + parcel.length
  local step = self.steps[filled.step] or {}
  self.steps[filled.step] = step
  step[receiver + 1] = step[receiver + 1] or {}
  table.insert(step[receiver + 1], parcel)
end

function Schedule:add_segment(rate, m, receiver)
  local owners = others(rate.owners[m] or NONE, receiver)
  for _, group in ipairs(#owners > 0 and rate.groups or NONE) do
    for _, owner in ipairs(owners) do
      local keys = self:keys(rate, m, group.offset, receiver, owner)
      for _, cell in ipairs(keys and cells.cut(keys, math.ceil(self.room / group.kv[3])) or NONE) do
        self:add(receiver, {
          rate = rate, segment = m, group = group, owner = owner, cell = cell,
          length = cell.count * group.kv[3],
        })
      end
    end
  end
end

--- For a plan and numbers of query and key/value heads.
-- steps[i][receiver + 1] = list of parcels (nil: none), in the order in which they are used.
function Schedule:init(plan, heads, kv_heads)
  local most = 0
  self.plan, self.steps, self.filled = plan, {}, {}
  self.rates = pattern.rates(plan, heads, kv_heads)
  for rank = 0, plan.comm.size - 1 do most = math.max(most, plan.keys:count(rank)) end
  self.room = math.max(LEAST, math.ceil(most / PARTS)) * kv_heads
  for _, rate in ipairs(self.rates) do
    find_cells(rate, plan)
    for rank = 0, plan.comm.size - 1 do
      for _, m in ipairs(rate.segments[rank + 1]) do self:add_segment(rate, m, rank) end
    end
  end
end

--- What `owner` sends `receiver` in a step, and how many rows of single heads.
function Schedule.parcels(step, receiver, owner)
  local list, length = {}, 0
  for _, parcel in ipairs(step[receiver + 1] or NONE) do
    if parcel.owner == owner then
      list[#list + 1], length = parcel, length + parcel.length
    end
  end
  return list, length
end

--- Bytes that this rank sends forward: keys and values of all parcels.
function Schedule:volume(sizes)
  local rows, own = 0, self.plan.comm.rank
  for _, step in ipairs(self.steps) do
    for receiver = 0, self.plan.comm.size - 1 do
      rows = rows + select(2, Schedule.parcels(step, receiver, own))
    end
  end
  return 2 * sizes.batch * rows * wire.bytes(self.plan.wire, sizes.d, sizes.bytes)
end

return Schedule
