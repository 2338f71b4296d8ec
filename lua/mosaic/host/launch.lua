--- mosaic-lua -n P: starts P ranks through mpirun, passes their stderr on, and sees to their end.
local relay = require "mosaic.host.relay"

local SIGINT, SIGKILL, SIGTERM = 2, 9, 15
local NOT_STARTED = 127
local GRACE = 4 -- seconds that mpirun has to end a job that failed or was told to stop

local function cores()
  local count = 0
  local status = io.open "/proc/self/status"
  local list = status and status:read "*a":match "Cpus_allowed_list:%s*(%S+)" or "0"
  if status then status:close() end
  for first, last in list:gmatch "(%d+)%-?(%d*)" do
    count = count + (last == "" and 1 or last - first + 1)
  end
  return count
end

--- Settings for Open MPI 4 (OMPI_MCA_) and 5 (PRTE_MCA_ for its launcher); each ignores the other's.
-- More ranks than cores are allowed, root is, nobody is bound to a core, messages stay in memory.
local function environment(host, ranks)
  local available = cores()
  local settings = {
    OMPI_ALLOW_RUN_AS_ROOT = "1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM = "1",
    PRTE_ALLOW_RUN_AS_ROOT = "1", PRTE_ALLOW_RUN_AS_ROOT_CONFIRM = "1",
    OMPI_MCA_rmaps_base_oversubscribe = "1", PRTE_MCA_rmaps_default_mapping_policy = ":oversubscribe",
    OMPI_MCA_hwloc_base_binding_policy = "none", PRTE_MCA_hwloc_default_binding_policy = "none",
    OMPI_MCA_btl = "self,vader", OMPI_MCA_pml = "ob1",
    MOSAIC_LAUNCHED = tostring(ranks),
    MOSAIC_TTY = ("%d:%d"):format(host.terminal(1) or 0, host.terminal(2) or 0),
    MOSAIC_THREADS = os.getenv "MOSAIC_THREADS" or tostring(math.max(1, math.floor(available / ranks))),
  }
  if ranks > available then settings.OMPI_MCA_mpi_yield_when_idle = "1" end
  return settings
end

local function command(host, plan)
  local words = { os.getenv "MOSAIC_MPIRUN" or "mpirun", "-n", tostring(plan.ranks), host.program }
  for _, word in ipairs(plan.rest) do words[#words + 1] = word end
  return words
end

--- The terminal's Ctrl-C reaches mpirun by itself; every other request must be handed on.
local function hand_on(host, pid, signal)
  if signal ~= SIGINT or not host.terminal(0) then host.kill(pid, SIGTERM) end
end

--- Waits for mpirun; returns its exit code and the signal that stopped us, if one did.
local function supervise(host, pid, fd, stream)
  local code, deadline, stopped_by, open = nil, nil, nil, true
  while open or not code do
    local text = open and host.read(fd, 50) or not open and host.sleep(10) or nil
    if text == "" then open = false elseif text then stream:feed(text, host.now()) end
    stream:tick(host.now())
    if code and not text then break end -- mpirun is gone, and silent whoever holds its pipe
    code = code or host.finished(pid)
    local signal = host.caught()
    if signal then
      if stopped_by then deadline = 0 else hand_on(host, pid, signal) end
      stopped_by = stopped_by or signal
    end
    deadline = deadline or ((stopped_by or stream.reported) and host.now() + GRACE)
    if not code and deadline and host.now() > deadline then host.kill(pid, SIGKILL) end
  end
  return code, stopped_by
end

return function(host, plan)
  local words = command(host, plan)
  local pid, fd = host.spawn(words, environment(host, plan.ranks))
  if not pid then
    host.write_error(("mosaic-lua: cannot start %s: %s\n"):format(words[1], fd))
    return 1
  end
  local stream = relay.new(host.write_error)
  local code, stopped_by = supervise(host, pid, fd, stream)
  stream:close()
  if code ~= 0 or stopped_by then host.reap() end
  if code == NOT_STARTED then
    host.write_error "mosaic-lua: -n needs Open MPI's mpirun; scripts/setup installs it\n"
  end
  return stopped_by and 128 + stopped_by or code
end
