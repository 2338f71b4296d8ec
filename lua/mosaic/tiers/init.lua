--- Which keys a rank sees exactly, and which as blocks: the arithmetic of the strategy `compressed`.
--
--   local tiers = Tiers(plan)
--   tiers.near      placement: the rows that each rank sees exactly
--   tiers.pooled    placement: the numbers of each rank's blocks, counted 1, 2, ... over all ranks
--   tiers.far       placement: the blocks that each rank sees
--   tiers.any_near, tiers.any_far   does any rank see exactly what another one has, any blocks?
--   tiers.blocks    what each rank cuts into blocks (blocks.lua)
--   tiers.sizes, tiers.ends   of every block: its number of rows, and the position of its last one
--
-- Nodes are node_size ranks that follow each other. A rank sees exactly the rows of its node and the first
-- global_tokens positions, the rest of other nodes' rows in blocks of `ratio`; neither what the mask hides.
local blocks = require "mosaic.tiers.blocks"
local class = require "mosaic.class"
local Placement = require "mosaic.placement"
local visibility = require "mosaic.visibility"

local Tiers = class("Tiers")

--- The last position that queries of `rank` can see; 0 where there are no queries.
local function reach(plan, rank)
  local last = 0
  for _, piece in ipairs(plan.queries:pieces(rank)) do
    if piece[3] > 0 then last = math.max(last, piece[1] + (piece[3] - 1) * piece[2]) end
  end
  return last > 0 and not plan.mask.causal and math.huge or last
end

function Tiers:same_node(a, b)
  return math.floor(a / self.node_size) == math.floor(b / self.node_size)
end

--- The rows of `owner` that `rank` sees exactly, as pieces.
function Tiers:near_rows(rank, owner)
  local plan = self.plan
  if owner == rank then return plan.keys:pieces(rank) end
  if self:same_node(rank, owner) then
    return plan.keys:cut(owner, visibility.span(plan.mask, plan.queries:pieces(rank), plan.keys, owner))
  end
  local pieces, last = {}, math.min(self.global_tokens, self.last, reach(plan, rank))
  for i, run in ipairs(blocks.runs(plan.keys:pieces(owner), 1, last)) do
    pieces[i] = { run.first, run.step, run.count }
  end
  return pieces
end

--- The numbers of owner's blocks that `rank` sees, as pieces.
function Tiers:far_blocks(rank, owner)
  local pieces, last = {}, reach(self.plan, rank)
  if self:same_node(rank, owner) then return pieces end
  local first, _, count = unpack(self.pooled:pieces(owner)[1])
  for number = first, first + count - 1 do
    if self.ends[number] <= last then
      local piece = pieces[#pieces]
      if not piece or piece[1] + piece[3] < number then
        piece = { number, 1, 0 }
        pieces[#pieces + 1] = piece
      end
      piece[3] = piece[3] + 1
    end
  end
  return pieces
end

--- The placement of what method(self, rank, owner) gives for all owners.
local function seen(self, method)
  local lists = {}
  for rank = 0, self.plan.keys.ranks - 1 do
    lists[rank + 1] = {}
    for owner = 0, self.plan.keys.ranks - 1 do
      for _, piece in ipairs(method(self, rank, owner)) do table.insert(lists[rank + 1], piece) end
    end
  end
  return Placement(lists)
end

--- Numbers the blocks of all ranks.
function Tiers:cut()
  local pooled = {}
  self.blocks, self.sizes, self.ends = {}, {}, {}
  for rank = 0, self.plan.keys.ranks - 1 do
    local runs = blocks.runs(self.plan.keys:pieces(rank), self.global_tokens + 1, self.last)
    local own = blocks.cut(runs, self.ratio, self.plan.mask.causal)
    pooled[rank + 1] = { { #self.sizes + 1, 1, #own.sizes } }
    for i, size in ipairs(own.sizes) do
      self.sizes[#self.sizes + 1], self.ends[#self.ends + 1] = size, own.ends[i]
    end
    self.blocks[rank + 1] = own
  end
  self.pooled = Placement(pooled)
end

local function total(pieces)
  local rows = 0
  for _, piece in ipairs(pieces) do rows = rows + piece[3] end
  return rows
end

function Tiers:init(plan)
  local options = plan.options
  self.plan, self.last = plan, plan.mask.prefix or math.huge
  self.ratio, self.node_size = options.ratio or 16, options.node_size or 1
  self.global_tokens = options.global_tokens or 0
  self:cut()
  self.near, self.far = seen(self, Tiers.near_rows), seen(self, Tiers.far_blocks)
  for rank = 0, plan.keys.ranks - 1 do
    self.any_near = self.any_near or self.near:count(rank) > plan.keys:count(rank)
    self.any_far = self.any_far or self.far:count(rank) > 0
  end
end

--- How many rows of one tensor a rank sends: exact ones, and blocks.
function Tiers:rows_sent(rank)
  local exact, pooled = 0, 0
  for other = 0, self.plan.keys.ranks - 1 do
    if other ~= rank then exact = exact + total(self:near_rows(other, rank)) end
    pooled = pooled + total(self:far_blocks(other, rank))
  end
  return exact, pooled
end

return Tiers
