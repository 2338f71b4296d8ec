--- Who holds which row of a sequence that grows: pure arithmetic, no tensors, no messages.
--
--   local deal = Deal { ranks = 4 }
--   deal:append(deal:parts(1001, { layout = "zigzag" })) -- a long prompt
--   deal:append(deal:parts(1))                           -- one more row, for the rank with the fewest
--
-- A placement (placement.lua) to which rows are added, step >= 1 in all its pieces. Every rank knows the
-- pieces of all, so no one has to ask. New rows go
--   fewest   each to the rank that has the fewest (of equals the first), whatever came before
--   striped  by their number: row i to rank floor((i - 1) / block_size) mod p
-- or all at once as a layout of partition.lua deals them.
local check = require "mosaic.check"
local class = require "mosaic.class"
local partition = require "mosaic.partition"
local Placement = require "mosaic.placement"

local Deal = class("Deal", Placement)

Deal.LAYOUTS = { "fewest", "striped" }

--- options: ranks; layout ("fewest"); block_size (1), for striped.
function Deal:init(options)
  local lists = {}
  for r = 1, options.ranks do lists[r] = {} end
  Placement.init(self, lists)
  self.rows = 0
  self.layout, self.block_size = options.layout or "fewest", options.block_size or 1
  if options.block_size and self.layout ~= "striped" then
    check.fail("KVCache: block_size is for layout 'striped', not '%s'", self.layout)
  end
end

--- Appends { first, step, count } to a list of pieces; continues the last one where it can.
local function add_piece(pieces, first, step, count)
  if count == 0 then return end
  local last = pieces[#pieces]
  local stride = last and (last[3] == 1 and first - last[1] or last[2])
  local follows = last and stride > 0 and first == last[1] + stride * last[3]
  if follows and (count == 1 or step == stride) then
    last[2], last[3] = stride, last[3] + count
  else
    pieces[#pieces + 1] = { first, step, count }
  end
end

local owners = {} -- name -> function(deal) -> function(i) -> rank + 1 of the i-th new row

function owners.fewest(deal)
  local counts = deal:row_counts()
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

local function by_owner(deal, count)
  local lists, owner_of = {}, owners[deal.layout](deal)
  for r = 1, deal.ranks do lists[r] = {} end
  for i = 1, count do add_piece(lists[owner_of(i)], i, 1, 1) end
  return Placement(lists)
end

--- Who gets which of `count` new rows, numbered from 1: a placement.
-- options.layout, options.indices: a layout of partition.lua instead of the deal's own; options.counts:
-- how many each rank brings, which contiguous runs follow.
function Deal:parts(count, options)
  local layout = options and options.layout
  if not layout then return by_owner(self, count) end
  return partition.new {
    layout = layout, rows = count, ranks = self.ranks, indices = options.indices,
    counts = layout == "contiguous" and options.counts or nil,
  }
end

--- Takes `count` new rows in, dealt as `parts` says; they get the next numbers. Returns their placement.
function Deal:append(parts, count)
  local lists = {}
  for r = 1, self.ranks do
    lists[r] = {}
    for i, piece in ipairs(parts:pieces(r - 1)) do
      lists[r][i] = { piece[1] + self.rows, piece[2], piece[3] }
      add_piece(self.lists[r], unpack(lists[r][i]))
    end
  end
  self.rows = self.rows + count
  return Placement(lists)
end

--- Forgets the rows after number `last`. Returns pieces of the places in `rank`'s storage that stay.
function Deal:truncate(last, rank)
  local places = {}
  for r = 1, self.ranks do
    local kept, at = {}, 0
    for _, piece in ipairs(self.lists[r]) do
      local stays = math.max(0, math.min(piece[3], math.floor((last - piece[1]) / piece[2]) + 1))
      add_piece(kept, piece[1], piece[2], stays)
      if r == rank + 1 then add_piece(places, at + 1, 1, stays) end
      at = at + piece[3]
    end
    self.lists[r] = kept
  end
  self.rows = last
  return places
end

--- What it is now; later rows do not change that.
function Deal:snapshot()
  local lists = {}
  for r = 1, self.ranks do
    lists[r] = {}
    for i, piece in ipairs(self.lists[r]) do lists[r][i] = { unpack(piece) } end
  end
  return Placement(lists)
end

return Deal
