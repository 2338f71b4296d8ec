--- Who holds which row of a sequence that grows: pure arithmetic, no tensors, no messages.
--
--   local deal = Deal { ranks = 4 }
--   deal:append(deal:parts(1001, { layout = "zigzag" })) -- a long prompt
--   deal:append(deal:parts(1))                           -- one more row, for the rank with the fewest
--
-- Rows count from 1, ranks from 0. A rank's rows are runs { first, step, count } in the order in which
-- it stores them, step >= 1, and every rank knows the runs of all: no one has to ask. New rows go
--   fewest   each to the rank that has the fewest (of equals the first), whatever came before
--   striped  by their number: row i to rank floor((i - 1) / block_size) mod p
-- or all at once as a layout of partition.lua deals them.
local check = require "mosaic.check"
local class = require "mosaic.class"
local partition = require "mosaic.partition"

local Deal = class("Deal")

Deal.LAYOUTS = { "fewest", "striped" }

--- options: ranks; layout ("fewest"); block_size (1), for striped.
function Deal:init(options)
  self.ranks, self.rows = options.ranks, 0
  self.layout, self.block_size = options.layout or "fewest", options.block_size or 1
  if options.block_size and self.layout ~= "striped" then
    check.fail("KVCache: block_size is for layout 'striped', not '%s'", self.layout)
  end
  self.runs = self:parts(0)
end

--- Appends { first, step, count } to runs; continues the last run where it can.
local function add_run(runs, first, step, count)
  if count == 0 then return end
  local last = runs[#runs]
  local stride = last and (last[3] == 1 and first - last[1] or last[2])
  local follows = last and stride > 0 and first == last[1] + stride * last[3]
  if follows and (count == 1 or step == stride) then
    last[2], last[3] = stride, last[3] + count
  else
    runs[#runs + 1] = { first, step, count }
  end
end

local function count_of(runs)
  local total = 0
  for _, run in ipairs(runs) do total = total + run[3] end
  return total
end

local owners = {} -- name -> function(deal, counts) -> function(i) -> rank + 1 of the i-th new row

function owners.fewest(deal)
  local counts = {}
  for r = 1, deal.ranks do counts[r] = count_of(deal.runs[r]) end
  return function()
    local owner = 1
    for r = 2, deal.ranks do
      if counts[r] < counts[owner] then owner = r end
    end
    counts[owner] = counts[owner] + 1
    return owner
  end
end

function owners.striped(deal)
  return function(i) return math.floor((deal.rows + i - 1) / deal.block_size) % deal.ranks + 1 end
end

--- Who gets which of `count` new rows, numbered from 1: a list of runs for each rank, and the count.
-- options.layout, options.indices: a layout of partition.lua instead of the deal's own; options.counts:
-- how many each rank brings, which contiguous runs follow.
function Deal:parts(count, options)
  local parts, layout = { rows = count }, options and options.layout
  for r = 1, self.ranks do parts[r] = {} end
  if layout then
    local part = partition.new {
      layout = layout, rows = count, ranks = self.ranks, indices = options.indices,
      counts = layout == "contiguous" and options.counts or nil,
    }
    for r = 1, self.ranks do
      for _, piece in ipairs(part:pieces(r - 1)) do add_run(parts[r], unpack(piece)) end
    end
  elseif count > 0 then
    local owner_of = owners[self.layout](self)
    for i = 1, count do add_run(parts[owner_of(i)], i, 1, 1) end
  end
  return parts
end

--- Takes new rows in, dealt as `parts` says; they get the next numbers.
function Deal:append(parts)
  for r = 1, self.ranks do
    for _, run in ipairs(parts[r]) do add_run(self.runs[r], run[1] + self.rows, run[2], run[3]) end
  end
  self.rows = self.rows + parts.rows
end

--- Forgets the rows after number `last`. Returns, for one rank, runs of the places in its storage that
-- stay, in order.
function Deal:truncate(last, rank)
  local places = {}
  for r = 1, self.ranks do
    local kept, at = {}, 0
    for _, run in ipairs(self.runs[r]) do
      local stays = math.max(0, math.min(run[3], math.floor((last - run[1]) / run[2]) + 1))
      add_run(kept, run[1], run[2], stays)
      if r == rank + 1 then add_run(places, at + 1, 1, stays) end
      at = at + run[3]
    end
    self.runs[r] = kept
  end
  self.rows = last
  return places
end

--- How many rows the rank holds.
function Deal:count(rank)
  return count_of(self.runs[rank + 1])
end

Deal.count_of = count_of

return Deal
