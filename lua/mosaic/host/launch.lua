--- mosaic-lua -n P: starts P ranks through mpirun, passes their stderr on, and sees to their end.
local relay = require "mosaic.host.relay"

local SIGINT, SIGKILL, SIGTERM = 2, 9, 15
local NOT_STARTED = 127
local GRACE = 4 -- seconds that mpirun has to end a job that failed or was told to stop

--- Cores that this process may run on.
local function cores()
  local status = assert(io.open "/proc/self/status")
  local list, count = status:read("*a"):match "Cpus_allowed_list:%s*(%S+)", 0
  status:close()
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
  -- Open MPI 4 wants a way to other machines, even when it goes to none.
  if os.execute "command -v ssh >/dev/null || command -v rsh >/dev/null" ~= 0 then
    settings.OMPI_MCA_plm = "isolated"
  end
  return settings
end

local function command(host, plan)
  local words = { os.getenv "MOSAIC_MPIRUN" or "mpirun", "-n", tostring(plan.ranks), host.program }
  for _, word in ipairs(plan.rest) do words[#words + 1] = word end
  return words
end

--- A running mpirun: { pid, fd, stream, code, signal, stopped_by, deadline }.
local Job = {}
Job.__index = Job

--- Takes what mpirun wrote; nil when it wrote nothing within `patience` ms.
function Job:relay(host, patience)
  local text = self.fd and host.read(self.fd, patience)
  if not self.fd then host.sleep(patience) end
  if text == "" then self.fd = nil elseif text then self.stream:feed(text, host.now()) end
  self.stream:tick(host.now())
  return text
end

--- Hands a request to stop on to mpirun; the terminal's Ctrl-C has reached it already. A second
-- request does not wait.
function Job:obey(host, signal)
  if self.stopped_by then
    self.deadline = 0
  elseif signal ~= SIGINT or not host.terminal(0) then
    host.kill(self.pid, SIGTERM)
  end
  self.stopped_by = self.stopped_by or signal
end

--- Kills an mpirun that does not come to an end although its job has to.
function Job:hurry(host)
  local ending = self.stopped_by or self.stream.reported
  self.deadline = self.deadline or (ending and host.now() + GRACE)
  if self.deadline and host.now() > self.deadline then host.kill(self.pid, SIGKILL) end
end

--- Returns when mpirun is gone and nothing of what it wrote is left.
function Job:supervise(host)
  local text
  repeat
    text = self:relay(host, 50)
    if not self.code then self.code, self.signal = host.finished(self.pid) end
    local signal = host.caught()
    if signal then self:obey(host, signal) end
    if not self.code then self:hurry(host) end
  until self.code and not text
  self.stream:close()
  if self.code ~= 0 or self.stopped_by then host.reap() end
end

--- What only the launcher knows about the end.
function Job:explain(host)
  if self.code == NOT_STARTED then
    host.write_error "mosaic-lua: -n needs Open MPI's mpirun (on Debian: package openmpi-bin)\n"
  elseif self.signal and not self.stopped_by and not self.stream.reported then
    host.write_error(("mosaic-lua: mpirun was ended by signal %d\n"):format(self.signal))
  end
end

--- Of a trace there is what each rank has kept, if the job did not come to its end.
local function join_trace(host, plan)
  local path = plan.trace or os.getenv "MOSAIC_TRACE"
  if not path or path == "" then return end
  local ok, why = pcall(function() require "mosaic.timeline".join(path, plan.ranks, host.now() * 1e6) end)
  if not ok then host.write_error(("mosaic-lua: %s\n"):format(why)) end
end

return function(host, plan)
  local words = command(host, plan)
  local pid, fd = host.spawn(words, environment(host, plan.ranks))
  if not pid then
    host.write_error(("mosaic-lua: cannot start %s: %s\n"):format(words[1], fd))
    return 1
  end
  local job = setmetatable({ pid = pid, fd = fd, stream = relay.new(host.write_error) }, Job)
  job:supervise(host)
  job:explain(host)
  join_trace(host, plan)
  return job.stopped_by and 128 + job.stopped_by or job.code
end
