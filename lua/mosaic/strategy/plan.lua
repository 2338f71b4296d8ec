--- What a strategy is asked to compute: which rows every rank holds, the mask, the scale.
--
-- Masks compare global positions, so a strategy never asks which layout or mask is in force: it
-- takes plan:block(owner), the options for this rank's queries against owner's keys, and may leave
-- out the keys behind plan:needed(owner), which no query sees.
local class = require "mosaic.class"
local create = require "mosaic.tensor.create"
local join = require "mosaic.tensor.join"
local masks = require "mosaic.mask"

local Plan = class("Plan")

--- options: comm; queries, keys (partitions); scale; mask in its normal form (mask.lua), with documents
-- for this rank's rows, and keep and bias with this rank's queries and all keys.
function Plan:init(options)
  self.comm, self.queries, self.keys = options.comm, options.queries, options.keys
  self.mask, self.scale = options.mask, options.scale
  self.cache = {}
  masks.check_columns("attend", self.mask, self.keys.rows)
  if self.mask.documents then -- every rank needs the document of every key
    self.key_documents = self.comm:all_gather(self.mask.documents.k, -1)
  end
end

--- The global numbers of a rank's rows as an i64 tensor.
local function positions_of(plan, partition, rank)
  local key = partition == plan.queries and rank or -1 - rank
  plan.cache[key] = plan.cache[key] or create.runs(partition:pieces(rank))
  return plan.cache[key]
end

--- How many of owner's keys, counted from its first, some query can see. Only the prefix of a
-- table is known to cut; the kernel skips what the other masks empty.
function Plan:needed(owner)
  local prefix = self.mask.prefix
  if not prefix or not self.keys:is_ascending(owner) then return self.keys:count(owner) end
  return self.keys:count_up_to(owner, prefix)
end

--- The part of owner's keys or values (..., rows, d) that some query can see.
function Plan:trim(owner, x)
  return x:narrow(-2, 1, self:needed(owner))
end

--- The opposite of trim for this rank's own block: zeros for the rows that no query saw.
function Plan:untrim(gradient)
  local rank = self.comm.rank
  local missing = self.keys:count(rank) - self:needed(rank)
  if missing == 0 then return gradient end
  local shape = gradient.shape
  shape[#shape - 1] = missing
  return join.cat({ gradient, gradient:zeros_of(shape) }, -2)
end

--- Where owner's keys start in the ranks' shards laid end to end (0-based).
local function offset_of(plan, owner)
  local offset = 0
  for rank = 0, owner - 1 do offset = offset + plan.keys:count(rank) end
  return offset
end

--- The columns of a (..., queries, all keys) tensor that belong to owner's keys at these positions.
local function columns(plan, x, owner, positions)
  if x:size(-1) == 1 then return x end
  if not plan.keys:is_in_order() then return x:index_select(-1, positions) end
  return x:narrow(-1, offset_of(plan, owner) + 1, positions:size(1))
end

--- The gradient of the mask's bias from those of its blocks: blocks[owner + 1] belongs to the first
-- needed keys of owner.
function Plan:join_bias(blocks)
  if self.mask.bias:size(-1) == 1 then
    local sum = blocks[1]
    for i = 2, #blocks do sum = sum + blocks[i] end
    return sum
  end
  local parts = {}
  for owner = 0, self.keys.ranks - 1 do
    local shape = blocks[owner + 1].shape
    shape[#shape] = self.keys:count(owner) - shape[#shape]
    parts[#parts + 1] = blocks[owner + 1]
    parts[#parts + 1] = blocks[owner + 1]:zeros_of(shape) -- keys that no query saw
  end
  local joined = join.cat(parts, -1)
  if self.keys:is_in_order() then return joined end
  return joined:index_select(-1, create.tensor(self.keys:places(), { dtype = "i64" }))
end

--- Options of mosaic.sdpa for this rank's queries and the first `count` (default: all) keys of owner.
function Plan:block(owner, count)
  local mask = {}
  for name, value in pairs(self.mask) do mask[name] = value end
  count = count or self.keys:count(owner)
  local k_positions = positions_of(self, self.keys, owner):narrow(1, 1, count)
  if mask.documents then
    mask.documents = {
      q = self.mask.documents.q,
      k = self.key_documents:narrow(-1, offset_of(self, owner) + 1, count),
    }
  end
  if mask.keep then mask.keep = columns(self, mask.keep, owner, k_positions) end
  if mask.bias then mask.bias = columns(self, mask.bias, owner, k_positions) end
  return {
    scale = self.scale,
    mask = mask,
    q_positions = positions_of(self, self.queries, self.comm.rank),
    k_positions = k_positions,
  }
end

return Plan
