--- Blocks of a ring that need not travel: those of ranks on the same node are read where they are.
--
-- A place reads a block in place when its owner's node is its own, whatever way the block goes; between
-- nodes, and where a block of another node goes on within one, it is a message as ever. Nothing is sent for
-- a block that the next place reads. An owner waits at the end until all have read.
--
-- Tried: the owner packs its block once as forward's kernels read it, and lends that, too. With it at hand
-- a call takes 0.70 to 0.99 of the time, but who packs writes 1 to 2 times the bytes of k and v to memory,
-- and readers fetch them from there. With 256 and 1024 rows of 8 heads of 64 a rank, two ranks take 1.03 to
-- 1.16 times as long in f32, 0.97 to 1.03 in bf16; eight on two cores 1.01 to 1.12, and 0.91 to 1.03.
local class = require "mosaic.class"
local lend = require "mosaic.comm.lend"

local LENT = 24 -- tags: behind those of the lanes in rotate.lua

local Nearby = class("Nearby")

--- Of the rotation's places, single ranks; own: this rank's keys and values. Collective when first asked.
function Nearby:init(rotation, own)
  self.rotation, self.own, self.comm, self.borrowed = rotation, own, rotation.comm, {}
  local rows = math.max(unpack(rotation.plan.keys:row_counts()))
  self.reads = lend.between(self.comm, own[1], rows)
  local readers = self:readers(rotation.place)
  if #readers == 0 then return end
  local lent, first, count = {}, self:range(rotation.place)
  for i, x in ipairs(own) do lent[i] = x:narrow(-2, first, count) end
  self.returned = lend.out(self.comm, lent, readers, LENT)
end

--- The rows of owner's block that go round, in whatever lane: the first and how many.
function Nearby:range(owner)
  local course, first, count = self.rotation.course, nil, 0
  for lane in ipairs(course.directions) do
    local range = course:leg(lane, owner).ranges[1]
    first, count = first or range[1], count + range[2]
  end
  return first, count
end

--- The places that read owner's block in place: those on its way.
function Nearby:readers(owner)
  local course, found, readers = self.rotation.course, {}, {}
  for lane, direction in ipairs(course.directions) do
    for step = 1, course:leg(lane, owner).last do
      local place = (owner + direction * step) % course.size
      if self.reads(owner, place) and not found[place] then
        found[place], readers[#readers + 1] = true, place
      end
    end
  end
  return readers
end

--- These rows { first, count } of owner's block.
function Nearby:block(owner, range)
  local block, views, first, count = self.borrowed[owner], {}, self:range(owner)
  if not block then
    block = { lend.borrow(self.comm, self.own, count, owner, LENT) }
    self.borrowed[owner] = block
  end
  for i, x in ipairs(block[1]) do views[i] = x:narrow(-2, range[1] - first + 1, range[2]) end
  return views
end

--- So many rows were handed on without a message.
function Nearby:count(rows) lend.count(self.comm, self.own, rows) end

--- Gives back what was borrowed, and waits for what was lent.
function Nearby:close()
  local requests = {}
  for _, block in pairs(self.borrowed) do requests[#requests + 1] = block[2]() end
  if self.returned then self.returned() end
  for _, request in ipairs(requests) do request:wait() end
end

--- Where all blocks travel.
Nearby.none = { reads = function() return false end, close = function() end }

return Nearby
