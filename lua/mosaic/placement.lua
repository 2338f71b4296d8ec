--- Which rows live where: for every rank a list of global rows. Pure arithmetic.
--
-- Rows count from 1, ranks from 0. A rank's rows are affine pieces { first, step, count }, in the
-- order in which the rank stores them. A partition (partition.lua) is a placement that has every row
-- exactly once; others have some rows only (the keys of one node), or a row on many ranks (the rows
-- that each rank wants to see).
local check = require "mosaic.check"
local class = require "mosaic.class"

local Placement = class("Placement")

--- lists[rank + 1]: the rank's pieces.
function Placement:init(lists)
  check.kind("placement", "the lists", lists, "table")
  self.lists, self.ranks = lists, #lists
end

--- The rank's rows as a list of { first, step, count }, in storage order.
function Placement:pieces(rank)
  if check.integer("placement", "rank", rank, 0) >= self.ranks then
    check.fail("placement: rank %d of %d does not exist", rank, self.ranks)
  end
  return self.lists[rank + 1]
end

--- How many rows the rank has.
function Placement:count(rank)
  local total = 0
  for _, piece in ipairs(self:pieces(rank)) do total = total + piece[3] end
  return total
end

--- The counts of all ranks, rank 0 first.
function Placement:row_counts()
  local list = {}
  for rank = 0, self.ranks - 1 do list[rank + 1] = self:count(rank) end
  return list
end

--- The global numbers of the rank's rows, in storage order, as a Lua list.
function Placement:positions(rank)
  local list = {}
  for _, piece in ipairs(self:pieces(rank)) do
    for i = 0, piece[3] - 1 do list[#list + 1] = piece[1] + i * piece[2] end
  end
  return list
end

--- Are the rank's rows stored in ascending order?
function Placement:is_ascending(rank)
  local last = 0
  for _, piece in ipairs(self:pieces(rank)) do
    if piece[3] > 0 then
      if piece[1] <= last then return false end
      last = piece[1] + (piece[3] - 1) * piece[2]
    end
  end
  return true
end

--- How many of the rank's rows are numbered at most `last`.
function Placement:count_up_to(rank, last)
  local total = 0
  for _, piece in ipairs(self:pieces(rank)) do
    local reach = math.floor((last - piece[1]) / piece[2]) + 1
    total = total + math.max(0, math.min(piece[3], reach))
  end
  return total
end

--- Pieces of `count` of the rank's rows from the `first` stored one (1-based) on.
function Placement:cut(rank, first, count)
  local list, skip = {}, first - 1
  for _, piece in ipairs(self:pieces(rank)) do
    local here = math.max(0, math.min(piece[3] - skip, count))
    if here > 0 then list[#list + 1] = { piece[1] + skip * piece[2], piece[2], here } end
    skip, count = math.max(0, skip - piece[3]), count - here
  end
  return list
end

--- The rows of some ranks, one after the other, as one list of pieces.
function Placement:joined(ranks)
  local list = {}
  for _, rank in ipairs(ranks) do
    for _, piece in ipairs(self:pieces(rank)) do list[#list + 1] = piece end
  end
  return list
end

--- The placement of some ranks only, in the given order.
function Placement:only(ranks)
  local lists = {}
  for i, rank in ipairs(ranks) do lists[i] = self:pieces(rank) end
  return Placement(lists)
end

--- The placement of the first ranks only.
function Placement:first(count)
  return Placement { unpack(self.lists, 1, count) }
end

--- The placement whose rank i has the rows of the ranks in groups[i + 1], one after the other.
function Placement:united(groups)
  local lists = {}
  for i, ranks in ipairs(groups) do lists[i] = self:joined(ranks) end
  return Placement(lists)
end

return Placement
