--- How this job's ranks are arranged: named mesh axes with a communicator each.
--
--   local mesh = mosaic.mesh{ {"dp", 2}, {"sp", 4} }
--   mesh:comm("sp").rank
--
-- mosaic.init{sp_size = 4} arranges the world as data parallel x sequence parallel and makes that
-- the default of every layer. Without it all ranks form one sequence-parallel group.
--
-- Sequences are laid out over the ranks contiguously; for causal work (`causal = true`) in zigzag, where all
-- ranks have the same to do; or as `layout` says. shard, unshard, switch, attend, the layers and K/V caches
-- follow.
local check = require "mosaic.check"
local class = require "mosaic.class"
local Comm = require "mosaic.comm.class"
local Mesh = require "mosaic.mesh"
local state = require "mosaic.state"

local context = {}

local LAYOUTS = { "contiguous", "zigzag", "striped" } -- those that need nothing but the number of rows

local RankMesh = class("Mesh")

--- Splits the world once per axis, in the order of the axes: the same order on every rank.
function RankMesh:init(where, axes, layout)
  self.world = require "mosaic.comm".world()
  self.mesh = Mesh(axes, self.world.size)
  self.layout = check.one_of(where, "layout", layout or "contiguous", LAYOUTS)
  self.comms = {}
  for _, axis in ipairs(self.mesh.axes) do
    self.comms[axis.name] = axis.size == self.world.size and self.world
      or self.world:split(self.mesh:group(self.world.rank, axis.name), self.world.rank)
  end
end

--- The communicator of the ranks that differ from this one along the axis only.
function RankMesh:comm(name)
  return self.comms[self.mesh:axis(name).name]
end

function RankMesh:size(name) return self.mesh:size(name) end

--- Where this rank sits along the axis, from 0.
function RankMesh:coordinate(name)
  return self.mesh:coordinate(self.world.rank, name)
end

--- A mesh over all ranks: a list of { name, size }; the sizes multiply to the world's size.
-- options.layout: how shards made for it are laid out (default "contiguous").
function context.mesh(axes, options)
  return RankMesh("mesh", axes, check.options("mesh", options or {}, { "layout" }).layout)
end

--- Arranges the world as dp x sp with sp_size ranks (default: all) per sequence, or as the given mesh (which
-- sequence-parallel work needs an axis "sp" of), and makes it the default of layers, shard and unshard.
-- options: sp_size or mesh, causal, layout. Every rank calls it. Returns it.
function context.init(options)
  options = check.options("init", options or {}, { "sp_size", "mesh", "layout", "causal" })
  local causal = check.option("init", options, "causal", "boolean", false)
  local layout = options.layout or causal and "zigzag"
  local axes = options.mesh
  if not axes then
    local size = require "mosaic.comm".world().size
    local sp_size = check.integer("init", "sp_size", options.sp_size or size, 1)
    if size % sp_size ~= 0 then check.fail("init: sp_size %d does not divide %d ranks", sp_size, size) end
    axes = { { "dp", size / sp_size }, { "sp", sp_size } }
  end
  state.current.mesh = RankMesh("init", axes, layout)
  return state.current.mesh
end

--- The communicator that an operation's options name; by default that of the mesh's axis (nil: of all
-- ranks).
function context.comm(where, comm, axis)
  if comm == nil then
    local mesh = context.current()
    return axis and mesh:comm(axis) or mesh.world
  end
  return Comm.check_comm(where, comm)
end

--- How shards are laid out by default. No mesh is made for the answer, so a rank may ask alone.
function context.layout()
  local mesh = state.current.mesh
  return mesh and mesh.layout or "contiguous"
end

--- The mesh in force on this rank.
function context.current()
  return state.current.mesh or context.init()
end

return context
