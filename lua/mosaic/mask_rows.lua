--- What a mask holds for single queries, heads or batch entries goes along when these are moved.
--
-- mask: in its normal form. keep and bias are (batch..., heads, queries, keys) with axes that may be
-- missing or 1, alibi is (heads), documents are (batch..., rows); axes count from the end of keep's, so
-- heads are -3 and batch entries -4 and -5. Functions in place of keep know their rows by position.
-- Everything here is differentiable, for bias. A single row of keep or bias that stands for all queries
-- of its rank is written out when it moves: every rank may have another one.
local check = require "mosaic.check"
local tape = require "mosaic.autograd.tape"
local create = require "mosaic.tensor.create"
local Tensor = require "mosaic.tensor"

local mask_rows = {}

local function varies(x, axis) return x.ndim >= -axis and x:size(axis) > 1 end

local function narrow(x, axis, first, count)
  return varies(x, axis) and x:narrow(axis, first, count) or x
end

--- The mask with another keep and bias: change(tensor), in this order: it may send, and the order of pairs
-- is another one in every process.
local function with_tensors(mask, change)
  local changed = {}
  for name, value in pairs(mask) do changed[name] = value end
  for _, name in ipairs { "keep", "bias" } do
    if Tensor.is(mask[name]) then changed[name] = change(mask[name]) end
  end
  return changed
end

--- Heads or documents of the entries first..first+count-1 of an axis.
local function narrow_lists(mask, axis, first, count)
  if mask.alibi and axis == -3 then mask.alibi = narrow(mask.alibi, -1, first, count) end
  if mask.documents and axis < -3 then
    local ids = mask.documents
    mask.documents = { q = narrow(ids.q, axis + 2, first, count), k = narrow(ids.k, axis + 2, first, count) }
  end
  return mask
end

--- The mask for the entries first..first+count-1 of an axis.
function mask_rows.part(mask, axis, first, count)
  local part = with_tensors(mask, function(x) return narrow(x, axis, first, count) end)
  return narrow_lists(part, axis, first, count)
end

--- The mask with a single row in keep and bias, of any values: enough to count bytes.
function mask_rows.outline(mask)
  return with_tensors(mask, function(x)
    local shape = x.shape
    if #shape > 1 then shape[#shape - 1] = 1 end
    return create.zeros { 1, dtype = x.dtype, device = x.device }:expand(shape)
  end)
end

--- x with a row for each of this rank's queries.
local function written_out(x, queries)
  local shape = x.shape
  if #shape == 1 then table.insert(shape, 1, 1) end
  shape[#shape - 1] = queries
  return x:expand(shape)
end

--- The mask for queries that move: change(tensor with a row for each of this rank's queries) moves them.
-- Strategies outside this library know it as mosaic.move_mask.
function mask_rows.move(mask, queries, change)
  check.kind("move_mask", "the mask", mask, "table")
  check.integer("move_mask", "queries", queries, 0)
  check.callable("move_mask", "the change", change)
  return with_tensors(mask, function(x) return change(written_out(x, queries)) end)
end

--- Bytes that keep and bias have for one query.
function mask_rows.row_bytes(mask)
  local bytes = 0
  with_tensors(mask_rows.outline(mask), function(x)
    bytes = bytes + x:numel() * x:element_size()
    return x
  end)
  return bytes
end

--- The mask for the queries of all ranks of comm, those of rank 0 first; rows[rank + 1]: how many.
function mask_rows.gather(comm, mask, rows)
  return with_tensors(mask, function(x)
    return comm:all_gather(written_out(x, rows[comm.rank + 1]), -2, rows)
  end)
end

--- A mask that moves once more, for a backward by hand: move(mask), whose bias has an edge where any rank
-- wants its gradient, and a function from that bias's gradient to this rank's share (nil: not wanted here).
function mask_rows.again(mask, wants, move)
  local own = {}
  for name, value in pairs(mask) do own[name] = value end
  own.bias = mask.bias and mask.bias:detach():requires_grad_(wants)
  local moved = tape.with_recording(true, move, own)
  return moved, function(dbias)
    tape.backward({ moved.bias }, { dbias })
    return own.bias.grad
  end
end

function mask_rows.gather_again(comm, mask, rows, wants)
  return mask_rows.again(mask, wants, function(own) return mask_rows.gather(comm, own, rows) end)
end

--- The mask for the queries of all ranks of comm, but only this rank's part of an axis: parts[rank + 1]
-- entries for each.
function mask_rows.split(comm, mask, rows, axis, parts)
  local first = 1
  for i = 1, comm.rank do first = first + parts[i] end
  local moved = with_tensors(mask, function(x)
    x = written_out(x, rows[comm.rank + 1])
    if not varies(x, axis) then return comm:all_gather(x, -2, rows) end
    return comm:all_to_all(x, {
      split_axis = axis, concat_axis = -2, split_sizes = parts, concat_sizes = rows,
    })
  end)
  return narrow_lists(moved, axis, first, parts[comm.rank + 1])
end

--- Bytes that `rank` with this mask sends for `gather`, or for `split` where there is an axis.
function mask_rows.bytes(mask, rank, rows, axis, parts)
  local bytes = 0
  with_tensors(mask, function(x)
    x = written_out(x, rows[rank + 1])
    local one, splits = x:numel() * x:element_size(), axis and varies(x, axis)
    bytes = bytes + one * (splits and 1 - parts[rank + 1] / x:size(axis) or #rows - 1)
    return x
  end)
  return bytes
end

return mask_rows
