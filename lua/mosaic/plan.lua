--- What a strategy is asked to compute: which rows every rank holds, the mask, the scale.
--
--   comm            the ranks that take part; queries and keys are placements over them
--   queries, keys   which global rows the ranks' q and k, v hold (placement.lua)
--   mask            in its normal form (mask.lua); documents.q and documents.k are the ids of all rows by
--                   global position, keep and bias have this rank's queries and all keys by position
--   scale           of the products; nil: 1/sqrt(d)
--   dropout, head_from, batch_from, batch_total   as for mosaic.sdpa, of this rank's q
--   device          of q, k and v; nil: the default one
--   wire            nil, or the format that K/V are to travel in (wire.lua); they are rounded to it already
--   options         what the strategy's table said
--
-- Masks compare global positions, so a strategy never asks which layout or mask is in force: it takes
-- plan:block(owner), the options of mosaic.sdpa for this rank's queries against owner's keys. A strategy
-- that moves rows and hands them to an inner one derives the plan for that: plan:with{ queries = ... }.
local class = require "mosaic.class"
local create = require "mosaic.tensor.create"
local keep = require "mosaic.tensor.scope".keep
local program = require "mosaic.program"

local Plan = class("Plan")

function Plan:init(fields)
  for name, value in pairs(fields) do self[name] = value end
end

--- The same plan but for some fields.
function Plan:with(changes)
  local fields = {}
  for name, value in pairs(self) do fields[name] = value end
  for name, value in pairs(changes) do fields[name] = value end
  return Plan(fields)
end

local position_tensors = setmetatable({}, { __mode = "k" }) -- pieces -> i64 tensor

local function positions_of(pieces, device)
  local known = position_tensors[pieces]
  if not known or device and known.device ~= device then
    known = keep(create.runs(pieces, device))
    position_tensors[pieces] = known
  end
  return known
end

--- The columns (last axis) of x that belong to these rows, where x has one for every global row. A
-- program goes by positions.
local function columns(x, pieces)
  if program.is(x) or x:size(-1) == 1 then return x end
  local piece = pieces[1]
  if #pieces == 1 and piece[2] == 1 then return x:narrow(-1, piece[1], piece[3]) end
  return x:index_select(-1, positions_of(pieces, x.device))
end

local function block_mask(mask, q_pieces, k_pieces)
  local own = {}
  for name, value in pairs(mask) do own[name] = value end
  if mask.documents then
    own.documents = { q = columns(mask.documents.q, q_pieces), k = columns(mask.documents.k, k_pieces) }
  end
  if mask.keep then own.keep = columns(mask.keep, k_pieces) end
  if mask.bias then own.bias = columns(mask.bias, k_pieces) end
  return own
end

--- Options of mosaic.sdpa for this rank's queries and owner's keys.
function Plan:block(owner)
  local q_pieces, k_pieces = self.queries:pieces(self.comm.rank), self.keys:pieces(owner)
  return {
    scale = self.scale, dropout = self.dropout,
    head_from = self.head_from, batch_from = self.batch_from, batch_total = self.batch_total,
    mask = block_mask(self.mask, q_pieces, k_pieces),
    q_positions = positions_of(q_pieces, self.device),
    k_positions = positions_of(k_pieces, self.device),
  }
end

--- Adds the gradient of the bias's columns for owner's keys to that of the whole bias, in place.
function Plan:add_bias_gradient(whole, owner, block)
  local pieces = self.keys:pieces(owner)
  local piece = pieces[1]
  if whole:size(-1) == 1 then
    whole:add_(block)
  elseif #pieces == 1 and piece[2] == 1 then
    whole:narrow(-1, piece[1], piece[3]):add_(block)
  else
    whole:index_add_(-1, positions_of(pieces, whole.device), block)
  end
end

return Plan
