--- The options of mosaic.sdpa for a group of heads and its selected rows.
local create = require "mosaic.tensor.create"
local program = require "mosaic.program"
local slices = require "mosaic.dilated.slices"

local call = {}

local ANYWHERE = { causal = true, window = true, alibi = true } -- go by differences of positions

--- Can many segments be one call, with the rows' places in their segments as positions? (A kernel takes two
-- batch axes.)
function call.takes_segments(plan, q)
  for name in pairs(plan.mask) do
    if not ANYWHERE[name] then return false end
  end
  return not plan.dropout and q.ndim <= 4
end

local function copy(mask)
  local own = {}
  for name, value in pairs(mask) do own[name] = value end
  return own
end

local function slopes_of(alibi, group)
  return alibi and (alibi:numel() > 1 and slices.view(alibi, -1, group.q) or alibi)
end

--- For whole segments of which each has `count` rows of the group's offset.
function call.segments(plan, rate, group, count)
  local mask, positions = copy(plan.mask), create.runs({ { 1, rate.r, count } }, plan.device)
  mask.alibi = slopes_of(mask.alibi, group)
  return { scale = plan.scale, mask = mask, q_positions = positions, k_positions = positions }
end

local function varies(x, axis) return x.ndim >= -axis and x:size(axis) > 1 end

--- The part of keep or bias for the group's heads, a cell of queries and key rows.
local function part_of(x, group, cell, rows)
  if varies(x, -3) then x = slices.view(x, -3, group.q) end
  if varies(x, -2) then x = slices.pick(x, -2, cell.places) end
  return varies(x, -1) and slices.pick(x, -1, rows) or x
end

--- Adds the gradient of such a part of bias to that of the whole.
function call.add_bias(dbias, group, cell, rows, gradient)
  if varies(dbias, -3) then dbias = slices.view(dbias, -3, group.q) end
  local across = varies(dbias, -1)
  if not varies(dbias, -2) then
    if across then slices.add(dbias, -1, rows, gradient) else dbias:add_(gradient) end
    return
  elseif across then
    local narrow, shape = gradient, gradient.shape
    shape[#shape] = dbias:size(-1)
    gradient = gradient:zeros_of(shape)
    slices.add(gradient, -1, rows, narrow)
  end
  slices.add(dbias, -2, cell.places, gradient)
end

--- For a cell of queries and keys of these rows.
function call.cell(plan, group, cell, rows)
  local mask, ids = copy(plan.mask), plan.mask.documents
  mask.alibi = slopes_of(mask.alibi, group)
  if ids then
    mask.documents = { q = slices.pick(ids.q, -1, cell.rows), k = slices.pick(ids.k, -1, rows) }
  end
  for _, name in ipairs { "keep", "bias" } do
    local x = mask[name]
    if x and not program.is(x) then mask[name] = part_of(x, group, cell, rows) end
  end
  return {
    scale = plan.scale, dropout = plan.dropout, mask = mask,
    head_from = (plan.head_from or 1) + group.q[1] - 1, batch_from = plan.batch_from,
    batch_total = plan.batch_total, q_positions = create.runs(cell.rows, plan.device),
    k_positions = create.runs(rows, plan.device),
  }
end

return call
