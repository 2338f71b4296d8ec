--- Which rank of which world this process is, as the launcher's environment tells it: no MPI needed.
local world = {}

local function number(name)
  return tonumber(os.getenv(name))
end

local MISMATCH = [[
this process was started as one of %d ranks by %s, but not in a way that Open MPI understands:
every rank would believe to be rank 0 of 1. Start the job with `mosaic-lua -n %d script.lua`, or with
Open MPI's own mpirun (`mpirun --version` says "Open MPI").]]

--- Does another launcher believe in more ranks than Open MPI does? Then its name, rank and size.
local function foreign()
  for _, launcher in ipairs { { "MPICH's mpirun", "PMI" }, { "srun", "SLURM" } } do
    local size = number(launcher[2] .. (launcher[2] == "PMI" and "_SIZE" or "_STEP_NUM_TASKS"))
    local rank = number(launcher[2] .. (launcher[2] == "PMI" and "_RANK" or "_PROCID"))
    if size and size > 1 then return launcher[1], rank or 0, size end
  end
end

--- { rank =, size = }, or nil, a message, and the rank that the foreign launcher gave.
function world.find()
  local rank, size = number "OMPI_COMM_WORLD_RANK", number "OMPI_COMM_WORLD_SIZE"
  if rank and size then return { rank = rank, size = size } end
  local launcher, foreign_rank, foreign_size = foreign()
  if launcher and not os.getenv "PMIX_RANK" then
    return nil, MISMATCH:format(foreign_size, launcher, foreign_size), foreign_rank
  end
  return { rank = foreign_rank or 0, size = foreign_size or 1 } -- srun --mpi=pmix is understood
end

return world
