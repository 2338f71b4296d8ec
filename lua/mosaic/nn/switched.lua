--- Attention along a sharded axis by switching: x goes over to being sharded along another axis, whole rows
-- are attended to where they are, and the result goes back.
--
--   switched(layer, x, mask, dropout, attend_whole) -> y
--
-- layer is an AxisAttention with switch_axis, layout and indices, and stay: leave the result sharded along
-- switch_axis, in the same layout. attend_whole(x, mask, place) computes the layer on x with all rows of the
-- attended axis; place has batch_from and batch_total for mosaic.attend. dropout: as for mosaic.attend, or
-- nil; the ranks agree on it.
-- Each rank sends (p-1)/p |X|/p there and as much back, and what a mask's tensors hold. One small message
-- before that makes what is wrong on one rank an error on all.
local check = require "mosaic.check"
local context = require "mosaic.context"
local masks = require "mosaic.mask"
local partition = require "mosaic.partition"
local switch = require "mosaic.switch"
local switched_mask = require "mosaic.nn.switched_mask"
local Tensor = require "mosaic.tensor"

--- The axes in x as numbers from 1: the attended one, the other one.
local function axes_of(layer, x)
  local where = layer.class_name
  local from = check.axis(where, layer.attention_axis, x.ndim) + 1
  local to = check.axis(where, layer.switch_axis, x.ndim) + 1
  if to == from then check.fail("%s: switch_axis is the attended axis %d of %s", where, to, x:describe()) end
  if to == x.ndim then check.fail("%s: switch_axis %d of %s is the embedding", where, to, x:describe()) end
  return from, to
end

--- Which batch axis of q the other axis is part of, of which sizes, and where among them.
local function group_of(x, from, to)
  local first, last = 1, from - 1
  if to > from then first, last = from + 1, x.ndim - 1 end
  local sizes = {}
  for axis = first, last do sizes[#sizes + 1] = x:size(axis) end
  return to < from and 1 or 2, sizes, to - first + 1
end

--- Batch axes are those of q, or 1: otherwise they could not be dealt out with it.
local function check_batch(where, name, t, trailing, x, from)
  if not Tensor.is(t) then return end
  local sizes, shape = { 1, 1 }, t.shape
  for axis = 1, x.ndim - 1 do
    local group = axis < from and 1 or 2
    if axis ~= from then sizes[group] = sizes[group] * x:size(axis) end
  end
  for group = 1, 2 do
    local own = shape[#shape - trailing - 2 + group] or 1
    if own ~= 1 and own ~= sizes[group] then
      check.fail("%s: mask.%s %s does not fit the batch axes {%d, %d} of %s", where, name, t:describe(),
        sizes[1], sizes[2], x:describe())
    end
  end
end

--- What all ranks must have in common, and what each has for itself; fails on what does not fit.
local function facts(layer, x, mask, way)
  local where = layer.class_name
  layer:fold(x) -- fails where x is not the layer's
  way.from, way.to = axes_of(layer, x)
  mask = masks.normal(where, mask, x.device)
  way.mask = mask
  local rows = x:size(way.from)
  masks.check_rows(where, mask, rows, rows)
  check_batch(where, "keep", mask.keep, 3, x, way.from)
  check_batch(where, "bias", mask.bias, 3, x, way.from)
  check_batch(where, "documents", mask.documents and mask.documents.q, 1, x, way.from)
  local shape = x.shape
  shape[way.from] = "n"
  return {
    shape = shape, dtype = x.dtype, from_axis = way.from, to_axis = way.to, mask = masks.describe(mask),
    layout = way.layout, indices = partition.fingerprint(layer.indices), stay = layer.stay or false,
    dropout = way.dropout and ("p=%g seed=%.0f"):format(way.dropout.p, way.dropout.seed) or nil,
  }, { rows = rows }
end

--- Every rank's rows.
local function agree(layer, x, mask, way)
  local all = way.comm:together(layer.class_name, function() return facts(layer, x, mask, way) end)
  way.counts = {}
  for i, row in ipairs(all) do way.counts[i] = row.rows end
end

--- The options of all that moves.
local function lay_out(layer, x, way)
  local comm, layout, indices, counts = way.comm, way.layout, layer.indices, way.counts
  local aside = layer.stay and layout ~= "indices" and layout or "contiguous" -- of the other axis
  local part = partition.new { layout = aside, rows = x:size(way.to), ranks = comm.size }
  way.rows = { comm = comm, layout = layout, indices = indices }
  way.there = {
    comm = comm, from_layout = layout, from_indices = indices, from_counts = counts, to_layout = aside,
  }
  way.back = {
    comm = comm, from_layout = aside, from_counts = part:row_counts(),
    to_layout = layout, to_indices = indices, to_counts = counts,
  }
  return part
end

--- The first row of a contiguous partition's rank.
local function first_of(part, rank)
  return part:pieces(rank)[1][1]
end

--- Where this rank's batch entries begin among all, as for mosaic.attend; {} where they do not follow each
-- other, which dropout and functions in a mask could not bear.
local function numbers(layer, x, way, part)
  local before, inside, from, after = 1, 1, { 1, 1 }, 1
  for i, size in ipairs(way.sizes) do
    if i < way.place then before = before * size elseif i > way.place then inside = inside * size end
  end
  if before == 1 and part:is_in_order() then
    from[way.group] = (first_of(part, way.comm.rank) - 1) * inside + 1
    for axis = way.from + 1, x.ndim - 1 do after = after * x:size(axis) end
    return { batch_from = from, batch_total = after }
  elseif way.dropout then
    check.fail("%s: dropout needs batch entries that follow each other: switch_axis %d of %s must come first "
      .. "of the axes on its side, in layout 'contiguous'", layer.class_name, way.to, x:describe())
  elseif way.mask.score ~= nil or way.mask.keep ~= nil and not Tensor.is(way.mask.keep) then
    check.fail("%s: a mask's functions need batch entries that follow each other: switch_axis %d of %s must "
      .. "come first of the axes on its side, in layout 'contiguous'", layer.class_name, way.to, x:describe())
  end
  return {}
end

return function(layer, x, mask, dropout, attend_whole)
  local where, way = layer.class_name, { dropout = dropout }
  way.comm = context.comm(where, layer.comm, "sp")
  way.layout = layer.layout or layer.indices and "indices" or context.layout()
  agree(layer, x, mask, way)
  local rows = partition.of_counts(where, way.counts, way.layout, layer.indices)
  masks.check_columns(where, way.mask, rows.rows)
  way.group, way.sizes, way.place = group_of(x, way.from, way.to)
  local place = numbers(layer, x, way, lay_out(layer, x, way))
  local y = attend_whole((switch(x, way.from, way.to, way.there)), switched_mask(way.mask, way), place)
  return layer.stay and y or (switch(y, way.to, way.from, way.back))
end
