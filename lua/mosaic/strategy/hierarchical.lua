--- Two levels: between nodes every key crosses once, inside a node the fast links spread it.
--
-- Each rank exchanges its own rows with its counterparts, the ranks of its number in the other nodes; at
-- each block that is there, the node's ranks run a strategy of their own on it. hierarchical{ring, ring} is
-- the double ring: while the inner ring turns, the outer one's next block is on its way. Any depth: the
-- inner strategy may be hierarchical again. Sent per rank between c nodes: 2 (c-1) n Hkv d b, and inside
-- what the inner strategy sends, c times (with inter "gather" once, for all keys).
--   intra_node_size = m | nodes = { {0, 1}, {2, 3, 4} } | probe = true   default: detected (Comm:nodes)
--   intra_node_strategy   default "local": a node's ranks gather its keys, each for its own queries
--   inter_node_strategy   "ring" (the default; may have its options) or "gather"
-- (Gu et al. 2024, "LoongTrain", and the two-level collectives of MPI.)
local check = require "mosaic.check"
local Hierarchy = require "mosaic.hierarchy"
local partial = require "mosaic.partial"
local rotate = require "mosaic.rotate"
local strategy = require "mosaic.strategy"
local wire = require "mosaic.wire"

--- What a node's ranks run.
local function inside_of(options)
  local inner = strategy.get(options.intra_node_strategy or "local")
  return inner.name == "local" and strategy.get "gather" or inner
end

--- The hierarchy, and options of rotate.
local function levels(plan)
  local o = plan.options
  local inner, between = inside_of(o), strategy.get(o.inter_node_strategy or "ring")
  local hierarchy = Hierarchy(plan, { size = o.intra_node_size, groups = o.nodes, probe = o.probe },
    between.name == "gather")
  return hierarchy, {
    inner = inner,
    groups = hierarchy.groups, place = hierarchy.node, directions = between.options.directions,
  }
end

local function attend(_, q, k, v, plan)
  local hierarchy, rotation = levels(plan)
  local inside, counterparts = hierarchy:comms()
  k, v = hierarchy:bring(k), hierarchy:bring(v)
  if hierarchy.gathers then
    return strategy.run(rotation.inner, inside, q, k, v, hierarchy:inside_plan())
  end
  rotation.inner_comm = inside
  return rotate(counterparts, q, k, v, hierarchy.plan, rotation)
end

local function backward(_, q, k, v, plan, g)
  local hierarchy, rotation = levels(plan)
  local inside, counterparts = hierarchy:comms()
  local dk, dv
  k, v = hierarchy:bring(k), hierarchy:bring(v)
  if hierarchy.gathers then
    dk, dv = partial.backward(rotation.inner, inside, q, k, v, hierarchy:inside_plan(), g)
  else
    rotation.inner_comm = inside
    dk, dv = rotate.backward(counterparts, q, k, v, hierarchy.plan, g, rotation)
  end
  return hierarchy:bring_back(dk), hierarchy:bring_back(dv)
end

local function volume(plan, sizes)
  local hierarchy, rotation = levels(plan)
  local inside, counterparts = hierarchy:preview()
  local row = sizes.batch * sizes.kv_heads * wire.bytes(plan.wire, sizes.d, sizes.bytes)
  local moved = 2 * hierarchy:rows_sent() * row
  if hierarchy.gathers then
    local sent = strategy.volume(rotation.inner, hierarchy:inside_plan():with { comm = inside }, sizes)
    return sent and moved + sent
  end
  rotation.inner_comm = inside
  local sent = rotate.volume(counterparts, hierarchy.plan, sizes, rotation)
  return sent and moved + sent
end

--- Only how blocks go round can be chosen between nodes.
local function check_between(plan, sizes)
  local between = strategy.get(plan.options.inter_node_strategy or "ring")
  check.one_of("hierarchical", "inter_node_strategy", between.name, { "ring", "gather" })
  for _, option in ipairs { "pass", "slices" } do
    if between.options[option] ~= nil then
      check.fail("hierarchical: between nodes '%s' has no option '%s'; 'ring' has 'directions', and "
        .. "intra_node_strategy takes all options", between.name, option)
    end
  end
  strategy.check_inner(between, plan.comm, plan, sizes)
end

--- Inside all nodes: every rank must refuse what one of them would.
local function check_inside(plan, sizes)
  local hierarchy, rotation = levels(plan)
  if rotation.inner.body.approximate then
    check.fail("hierarchical: the inner strategy '%s' is approximate, its results over some of the keys do "
      .. "not add up to those over all; those of 'ring', 'gather' or 'heads' do", rotation.inner.name)
  end
  for _, group in ipairs(hierarchy.groups) do
    strategy.check_inner(rotation.inner, plan.comm, plan:with {
      comm = plan.comm:preview(group, 0), queries = plan.queries:only(group), keys = plan.keys:only(group),
    }, sizes)
  end
end

return {
  options = { "intra_node_size", "nodes", "probe", "intra_node_strategy", "inter_node_strategy" },
  inner = function(options) return { inside_of(options) } end,
  balanced = function(options)
    local inner = inside_of(options).body.balanced
    return inner == nil or inner == true -- rows stay at home
  end,
  attend = attend,
  backward = backward,
  volume = volume,

  check = function(plan, sizes)
    check_between(plan, sizes)
    check_inside(plan, sizes)
  end,
}
