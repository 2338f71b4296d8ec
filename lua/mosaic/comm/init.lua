--- Communicators: `comm.world()` is this rank's end of the whole job, `comm.spawn(8, body)` runs body on
-- eight virtual ranks.
local ffi = require "ffi"
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local state = require "mosaic.state"
local Comm = require "mosaic.comm.class"
require "mosaic.comm.p2p"
require "mosaic.comm.collective"
require "mosaic.comm.reduction"
require "mosaic.comm.agree"
require "mosaic.comm.together"
require "mosaic.comm.grid"
require "mosaic.comm.nodes"

local comm = { Comm = Comm, spawn = require "mosaic.comm.virtual" }

--- Where launchers tell how many ranks they started: Open MPI, PMIx, MPICH and Intel, Slurm.
local SIZES = { "OMPI_COMM_WORLD_SIZE", "PMIX_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS" }

--- The number of ranks that a launcher has started, and the variable that says so; 1 without one.
local function launched()
  for _, name in ipairs(SIZES) do
    local size = tonumber(os.getenv(name) or "")
    if size and size > 1 then return size, name end
  end
  return 1
end

local function open_mpi(size, name)
  local handle = ffi.new "mosaic_comm *[1]"
  check.call("mosaic_comm_new_mpi", handle)
  local world = Comm.wrap(handle[0])
  if world.size ~= size then
    check.fail("comm: the launcher started %d ranks (%s), but MPI sees a world of %d: mpirun and the MPI "
      .. "library (%s) do not belong together; use the mpirun of that library", size, name, world.size,
      ffi.string(C.mosaic_comm_library()))
  end
  return world
end

local function open_self()
  local handle = ffi.new "mosaic_comm *[1]"
  check.call("mosaic_comm_new_virtual", handle, 1)
  return Comm.wrap(handle[0])
end

--- A communicator of this rank alone: whatever it does, nothing is sent.
function comm.alone()
  local rank = state.current
  rank.alone = rank.alone or open_self()
  return rank.alone
end

--- The communicator of all ranks: of the spawned ones inside comm.spawn, of the MPI job under mpirun,
-- else of this process alone.
function comm.world()
  local rank = state.current
  if not rank.comm then
    local size, name = launched()
    rank.comm = size > 1 and open_mpi(size, name) or open_self()
  end
  return rank.comm
end

--- Ends all ranks of the job with an exit code, at once.
function comm.abort(code)
  check.integer("abort", "the exit code", code, 0)
  C.mosaic_comm_abort(code)
  os.exit(code)
end

return comm
