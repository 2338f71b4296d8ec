--- Which rows of a sequence live on which rank: pure arithmetic, no tensors, no messages.
--
--   partition.new { layout = "zigzag", rows = 1001, ranks = 4 }
--
-- A placement (placement.lua) that has each of the rows 1..N on exactly one rank. Any number of rows:
-- shares differ by one row at most, and a rank may own none.
--   contiguous  rank r owns the r-th run (or runs of the given `counts`)
--   zigzag      2p runs; rank r owns runs r and 2p-1-r, so that causal work is balanced
--   striped     rank r owns rows r+1, r+1+p, ...
--   indices     rank r owns the rows in the list indices[r+1]
local check = require "mosaic.check"
local class = require "mosaic.class"
local hash = require "mosaic.hash"
local Placement = require "mosaic.placement"

local Partition = class("Partition", Placement)

local LAYOUTS = { "contiguous", "zigzag", "striped", "indices" }

--- First row and length of run `i` (0-based) when `rows` are cut into `runs` even ones.
local function even_run(rows, runs, i)
  local base, longer = math.floor(rows / runs), rows % runs
  return i * base + math.min(i, longer) + 1, base + (i < longer and 1 or 0)
end

local pieces = {}

function pieces.contiguous(self, rank)
  local counts = self.counts
  if not counts then
    local first, count = even_run(self.rows, self.ranks, rank)
    return { { first, 1, count } }
  end
  local first = 1
  for r = 1, rank do first = first + counts[r] end
  return { { first, 1, counts[rank + 1] } }
end

function pieces.zigzag(self, rank)
  local runs = 2 * self.ranks
  local early, early_count = even_run(self.rows, runs, rank)
  local late, late_count = even_run(self.rows, runs, runs - 1 - rank)
  return { { early, 1, early_count }, { late, 1, late_count } }
end

function pieces.striped(self, rank)
  return { { rank + 1, self.ranks, math.max(0, math.ceil((self.rows - rank) / self.ranks)) } }
end

--- Rows that follow each other become one piece.
function pieces.indices(self, rank)
  local list = {}
  for _, row in ipairs(self.indices[rank + 1]) do
    local last = list[#list]
    if last and row == last[1] + last[3] then
      last[3] = last[3] + 1
    else
      list[#list + 1] = { row, 1, 1 }
    end
  end
  return list
end

--- Fails unless the lists name each of 1..rows exactly once.
local function check_indices(self)
  local owner, total = {}, 0
  if #self.indices ~= self.ranks then
    check.fail("partition: %d index lists for %d ranks", #self.indices, self.ranks)
  end
  for rank = 0, self.ranks - 1 do
    for _, row in ipairs(self.indices[rank + 1]) do
      check.integer("partition", "an index", row, 1)
      if row > self.rows then
        check.fail("partition: index %d of rank %d exceeds %d rows", row, rank, self.rows)
      elseif owner[row] then
        check.fail("partition: index %d belongs to rank %d and rank %d", row, owner[row], rank)
      end
      owner[row], total = rank, total + 1
    end
  end
  for row = 1, total < self.rows and self.rows or 0 do
    if not owner[row] then check.fail("partition: index %d belongs to no rank", row) end
  end
end

local function check_counts(self)
  local total = 0
  for r = 1, self.ranks do total = total + check.integer("partition", "a count", self.counts[r], 0) end
  if self.layout ~= "contiguous" or total ~= self.rows or #self.counts ~= self.ranks then
    check.fail("partition: counts {%s} do not describe %d rows, %s, on %d ranks",
      table.concat(self.counts, ", "), self.rows, self.layout, self.ranks)
  end
end

function Partition:init(options)
  check.options("partition", options, { "layout", "rows", "ranks", "counts", "indices" })
  self.layout = check.one_of("partition", "layout", options.layout or "contiguous", LAYOUTS)
  self.rows = check.integer("partition", "rows", options.rows, 0)
  self.ranks = check.integer("partition", "ranks", options.ranks, 1)
  self.counts, self.indices = options.counts, options.indices
  if (self.layout == "indices") ~= (self.indices ~= nil) then
    check.fail("partition: layout '%s' %s index lists", self.layout, self.indices and "takes no" or "needs")
  end
  if self.indices then check_indices(self) end
  if self.counts then check_counts(self) end
  local lists = {}
  for rank = 0, self.ranks - 1 do lists[rank + 1] = pieces[self.layout](self, rank) end
  Placement.init(self, lists)
end

--- For every global row 1..rows its place in the ranks' shards laid end to end (1-based).
function Partition:places()
  local places, at = {}, 0
  for rank = 0, self.ranks - 1 do
    for _, row in ipairs(self:positions(rank)) do
      at = at + 1
      places[row] = at
    end
  end
  return places
end

--- Is a shard laid end to end already in global order?
function Partition:is_in_order()
  return self.layout == "contiguous" or self.ranks == 1 and self.layout ~= "indices"
end

--- The partition that gives every rank the rows that it brings: counts[rank + 1] of them. Contiguous
-- runs may be uneven; the other layouts leave no choice, and anything else is an error.
local function of_counts(where, counts, layout, indices)
  local rows = 0
  check.kind("partition", "counts", counts, "table")
  for _, count in ipairs(counts) do rows = rows + count end
  local part = Partition {
    layout = layout, rows = rows, ranks = #counts, indices = indices,
    counts = layout == "contiguous" and counts or nil,
  }
  for rank = 0, part.ranks - 1 do
    if part:count(rank) ~= counts[rank + 1] then
      check.fail("%s: rank %d brings %d, but layout '%s' of %d rows on %d ranks gives it %d", where, rank,
        counts[rank + 1], layout, rows, part.ranks, part:count(rank))
    end
  end
  return part
end

--- A number that differs for different index lists (by all but chance): what ranks compare.
local function fingerprint(indices)
  local sum = 0
  for _, list in ipairs(indices or {}) do sum = hash.numbers(list, sum) end
  return sum
end

return { new = Partition, of_counts = of_counts, fingerprint = fingerprint, LAYOUTS = LAYOUTS }
