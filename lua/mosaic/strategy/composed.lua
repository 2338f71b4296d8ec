--- Heads over one axis of a mesh of ranks, the sequence over the other.
--
-- Ranks that differ along the axis of the heads bring their rows together and split the heads; then each part
-- of the heads runs a strategy of its own along the other axis, on as many times longer shards. Rows go in
-- and come out as every rank holds them. Sent per rank over h x s ranks: (2 + 2/g) n E b (h-1)/h for the
-- heads, and what the strategy sends: with a ring 2 (s-1) n Hkv d b, instead of 2 (hs-1) n Hkv d b.
--   mesh_shape = {a, c}   rank r stands in row floor(r/c), column r % c, and the ranks of a row are close to
--                         each other; default: the most square one
--   head_axis = 1 | 2     the axis of the heads; default: so that less goes over axis 1, the slow one
--   seq_parallel          along the other axis, default "ring"
--   head_parallel = false   the sequence over both axes: a double ring, or seq_parallel on all ranks
-- (Fang and Zhao 2024, "USP".)
local check = require "mosaic.check"
local head_split = require "mosaic.head_split"
local mesh_shape = require "mosaic.mesh_shape"
local strategy = require "mosaic.strategy"

local function along_sequence(plan) return strategy.get(plan.options.seq_parallel or "ring") end

--- The rows and columns of the mesh.
local function shape_of(plan)
  if plan.options.mesh_shape then return unpack(plan.options.mesh_shape) end
  return mesh_shape.most_square(plan.comm.size)
end

--- Without parallel heads: the strategy of all ranks.
local function undivided(plan)
  local inner = along_sequence(plan)
  if inner.name ~= "ring" then return inner end
  local _, columns = shape_of(plan)
  return strategy.get {
    "hierarchical", intra_node_size = columns, intra_node_strategy = inner, inter_node_strategy = inner,
  }
end

--- groups[i + 1]: the ranks that share part i of the sequence; this rank's part, and its number among them.
local function arrange(plan, head_axis)
  local rows, columns = shape_of(plan)
  local groups, part, number = {}, nil, nil
  for rank = 0, rows * columns - 1 do
    local i, j = math.floor(rank / columns), rank % columns
    if head_axis == 1 then i, j = j, i end
    groups[i + 1] = groups[i + 1] or {}
    groups[i + 1][j + 1] = rank
    if rank == plan.comm.rank then part, number = i, j end
  end
  return groups, part, number
end

--- Bytes that a rank sends over the axis of the heads, and over that of the sequence (nil: not known).
local function volumes(plan, sizes, head_axis)
  local groups, part, number = arrange(plan, head_axis)
  return head_split.volume(plan, sizes, groups[part + 1], number),
    strategy.volume(along_sequence(plan), head_split.preview(plan, sizes, groups, part, number))
end

--- The axis of the heads: what rank 0 would send over axis 1 without a mask decides, for all ranks
-- alike; axis 1 where the strategy of the sequence does not say.
local function head_axis_of(plan, sizes)
  if plan.options.head_axis then return plan.options.head_axis end
  local ranks = {}
  for rank = 0, plan.comm.size - 1 do ranks[rank + 1] = rank end
  plan = plan:with { comm = plan.comm:preview(ranks, 0), mask = {} }
  local heads = volumes(plan, sizes, 1)
  local _, sequence = volumes(plan, sizes, 2)
  return (not sequence or heads <= sequence) and 1 or 2
end

return {
  inner = function(options) return { options.seq_parallel or "ring" } end,
  options = { "mesh_shape", "head_axis", "head_parallel", "seq_parallel" },

  check = function(plan, sizes)
    local o = plan.options
    mesh_shape.check("composed", o.mesh_shape, plan.comm.size)
    check.one_of("composed", "head_axis", o.head_axis or 1, { 1, 2 })
    if o.head_parallel == false then
      return strategy.check_inner(undivided(plan), plan.comm, plan, sizes)
    end
    local groups = arrange(plan, head_axis_of(plan, sizes))
    for number = 0, #groups[1] - 1 do
      local inner = along_sequence(plan)
      strategy.check_inner(inner, plan.comm, head_split.preview(plan, sizes, groups, 0, number))
    end
  end,

  attend = function(comm, q, k, v, plan)
    if plan.options.head_parallel == false then
      return strategy.run(undivided(plan), comm, q, k, v, plan)
    end
    local axis = head_axis_of(plan, strategy.sizes(q, k, v))
    local row, column = comm:grid(shape_of(plan))
    local of_heads, of_sequence = column, row
    if axis == 2 then of_heads, of_sequence = row, column end
    local inner
    q, k, v, inner = head_split.scatter(of_heads, q, k, v, plan, {
      groups = arrange(plan, axis), inner_comm = of_sequence,
    })
    local out, lse = strategy.run(along_sequence(plan), of_sequence, q, k, v, inner)
    return head_split.collect(of_heads, out, lse, inner)
  end,

  volume = function(plan, sizes)
    if plan.options.head_parallel == false then return strategy.volume(undivided(plan), plan, sizes) end
    local heads, sequence = volumes(plan, sizes, head_axis_of(plan, sizes))
    return sequence and heads + sequence
  end,
}
