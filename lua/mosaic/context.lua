--- How this job's ranks are arranged: named mesh axes with a communicator each.
--
--   local mesh = mosaic.mesh{ {"dp", 2}, {"sp", 4} }
--   mesh:comm("sp").rank
--
-- mosaic.init{sp_size = 4} arranges the world as data parallel x sequence parallel and makes that
-- the default of every layer. Without it all ranks form one sequence-parallel group.
local check = require "mosaic.check"
local class = require "mosaic.class"
local Comm = require "mosaic.comm.class"
local Mesh = require "mosaic.mesh"
local state = require "mosaic.state"

local context = {}

local RankMesh = class("Mesh")

--- Splits the world once per axis, in the order of the axes: the same order on every rank.
function RankMesh:init(axes, options)
  self.world = require "mosaic.comm".world()
  self.mesh = Mesh(axes, self.world.size)
  self.layout = options.layout or "contiguous"
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
  return RankMesh(axes, check.options("mesh", options or {}, { "layout" }))
end

--- Arranges the world as dp x sp with sp_size ranks (default: all) per sequence, or as the given
-- mesh, and makes it the default of layers, shard and unshard. Every rank calls it. Returns it.
function context.init(options)
  options = check.options("init", options or {}, { "sp_size", "mesh", "layout" })
  local axes = options.mesh
  if not axes then
    local size = require "mosaic.comm".world().size
    local sp_size = check.integer("init", "sp_size", options.sp_size or size, 1)
    if size % sp_size ~= 0 then check.fail("init: sp_size %d does not divide %d ranks", sp_size, size) end
    axes = { { "dp", size / sp_size }, { "sp", sp_size } }
  end
  state.current.mesh = context.mesh(axes, { layout = options.layout })
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

--- The mesh in force on this rank.
function context.current()
  return state.current.mesh or context.init()
end

return context
