--- The sharded axis changes: what was cut along one axis is whole there and cut along another one.
--
--   local y, counts = mosaic.switch(x, from_axis, to_axis, { comm = comm })
--   x = mosaic.switch(y, to_axis, from_axis, { comm = comm, to_counts = counts })
--
-- x holds this rank's shard along from_axis and all of to_axis (numbers, negative from the end); y holds all
-- of from_axis, its rows in global order whatever their layout was, and this rank's shard along to_axis.
-- The second result lists the rows that each rank brought; the opposite switch restores x, and is the
-- derivative. One all-to-all: a rank sends its shard but for the part that stays, (p-1)/p |X|/p. Any
-- lengths; a shard may be empty. (Zhao et al. 2024, "DSP: Dynamic sequence parallelism".)
--
-- options: comm; from_layout and to_layout (default: mosaic.init's) or from_indices and to_indices: how the
-- axes are sharded; to_counts: the lengths of contiguous shards (default: even); from_counts: what each rank
-- brings. Without from_counts the ranks tell each other, and agree on everything else, in one small message.
local check = require "mosaic.check"
local context = require "mosaic.context"
local create = require "mosaic.tensor.create"
local partition = require "mosaic.partition"
local Tensor = require "mosaic.tensor"

local OPTIONS = {
  "comm", "from_layout", "from_indices", "from_counts", "to_layout", "to_indices", "to_counts",
}

--- The two axes as numbers from 1.
local function axes_of(x, from_axis, to_axis)
  if not Tensor.is(x) then check.fail("switch: expected a tensor, got %s", check.show(x)) end
  local from = check.axis("switch", from_axis, x.ndim) + 1
  local to = check.axis("switch", to_axis, x.ndim) + 1
  if from == to then
    check.fail("switch: from_axis and to_axis are both axis %d of %s", from, x:describe())
  end
  return from, to
end

--- The options with their defaults. (The first one to ask for the context makes it, with the other ranks:
-- that comes before anything can fail.)
local function complete(options)
  local all = { comm = context.comm("switch", options.comm, "sp") }
  for name, value in pairs(options) do all[name] = value end
  for _, side in ipairs { "from", "to" } do
    local layout = side .. "_layout"
    all[layout] = all[layout] or all[side .. "_indices"] and "indices" or context.layout()
  end
  return all
end

--- How to_axis, of so many rows, will be cut.
local function target(rows, options)
  local comm, layout, indices, counts = options.comm, options.to_layout, options.to_indices, options.to_counts
  if not counts then
    return partition.new { layout = layout, rows = rows, ranks = comm.size, indices = indices }
  end
  comm:check_sizes("switch", "to_counts", counts)
  local part = partition.of_counts("switch: to_counts", counts, layout, indices)
  if part.rows ~= rows then
    check.fail("switch: to_counts add up to %d, but to_axis has %d", part.rows, rows)
  end
  return part
end

--- What all ranks must have in common, and what each has for itself; fails on bad arguments.
local function facts(x, from_axis, to_axis, options)
  check.options("switch", options, OPTIONS)
  local from, to = axes_of(x, from_axis, to_axis)
  local shape, rows, part = x.shape, x:size(from), target(x:size(to), options)
  shape[from] = "n"
  return {
    shape = shape, dtype = x.dtype, from_axis = from, to_axis = to, to_counts = part:row_counts(),
    from_layout = options.from_layout, to_layout = part.layout,
    from_indices = partition.fingerprint(options.from_indices),
    to_indices = partition.fingerprint(options.to_indices),
  }, { rows = rows }
end

--- The rows that each rank brings.
local function brought(x, from_axis, to_axis, options)
  local counts = options.from_counts
  if counts then
    options.comm:check_sizes("switch", "from_counts", counts)
    facts(x, from_axis, to_axis, options)
    return counts
  end
  counts = {}
  local rows = options.comm:together("switch", function() return facts(x, from_axis, to_axis, options) end)
  for i, row in ipairs(rows) do counts[i] = row.rows end
  return counts
end

--- The slices of x along the axis in the order of the ranks that get them.
local function dealt(x, axis, part)
  if part:is_in_order() then return x end
  local ranks = {}
  for rank = 0, part.ranks - 1 do ranks[rank + 1] = rank end
  return x:index_select(axis, create.runs(part:joined(ranks), x.device))
end

--- The opposite: shards laid end to end, in global order.
local function ordered(x, axis, part)
  if part:is_in_order() then return x end
  return x:index_select(axis, create.tensor(part:places(), { dtype = "i64", device = x.device }))
end

return function(x, from_axis, to_axis, options)
  options = complete(check.kind("switch", "options", options or {}, "table"))
  local counts = brought(x, from_axis, to_axis, options)
  local from, to = axes_of(x, from_axis, to_axis)
  local have = partition.of_counts("switch", counts, options.from_layout, options.from_indices)
  local want = target(x:size(to), options)
  local y = options.comm:all_to_all(dealt(x, to, want), {
    split_axis = to, concat_axis = from, split_sizes = want:row_counts(), concat_sizes = counts,
  })
  return ordered(y, from, have), counts
end
