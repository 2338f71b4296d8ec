--- An operation under way: `request:wait()` gives its result, `request:test()` says whether it is there.
-- A request that nobody waits for goes on inside the communicator until it is complete.
local ffi = require "ffi"
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local clock = require "mosaic.clock"
local environment = require "mosaic.environment"
local span = require "mosaic.span"

local PENDING = C.MOSAIC_PENDING
local SLICE = 0.05 -- seconds in C at a time; in between, Lua sees signals

local Request = {}
Request.__index = Request

local handle_t = ffi.typeof "mosaic_request *[1]"

--- Calls the C function `name`(request, comm, ...); finish(context, marks) makes the result when complete.
function Request.start(comm, finish, context, name, ...)
  local out = handle_t()
  check.call(name, out, comm.handle, ...)
  local handle = ffi.gc(out[0], C.mosaic_request_release)
  return setmetatable({ handle = handle, comm = comm, finish = finish, context = context }, Request)
end

--- "recv f32 [4] from rank 1"
function Request:describe()
  local what, peers = C.mosaic_request_describe(self.handle), C.mosaic_request_peers(self.handle)
  return ("%s %s"):format(ffi.string(what), ffi.string(peers))
end

--- "recv f32 [4] from rank 1 not complete after 0.7 s"
local function overdue(self, seconds)
  return ("%s not complete after %.1f s%s"):format(self:describe(), seconds,
    ffi.string(C.mosaic_request_absent(self.handle)))
end

--- Seconds that an operation may take before it ends the job.
local function timeout() return environment.number "MOSAIC_TIMEOUT" or 300 end

--- Other ranks wait for us as much as we for them: the job cannot go on, so it ends here.
local function give_up(self, seconds)
  local comm, line = self.comm, check.where():gsub(": $", "")
  io.stderr:write(("mosaic: rank %d/%d (%s): %s (%s)\n"):format(comm.rank, comm.size,
    ffi.string(C.mosaic_process_name()), overdue(self, seconds), line))
  C.mosaic_comm_abort(86)
  os.exit(86)
end

--- Another process answers: stay in C, in slices.
local function wait_for_processes(self)
  local status, waited, limit = C.mosaic_request_wait(self.handle, SLICE), 0, nil
  while status == PENDING do
    limit, waited = limit or timeout(), waited + SLICE
    if waited >= limit then give_up(self, waited) end
    status = C.mosaic_request_wait(self.handle, math.min(SLICE, limit - waited))
  end
  return status
end

--- Other ranks of this thread answer: let them run. Without a scheduler there is nobody.
local function wait_for_coroutines(self)
  local host, status = self.comm.host, C.mosaic_request_wait(self.handle, 0)
  while status == PENDING do
    if not host then
      local text = self:describe()
      C.mosaic_request_cancel(self.handle)
      check.fail("deadlock: rank 0 waits for %s, and there is no other rank", text)
    end
    host:pause(self)
    status = C.mosaic_request_wait(self.handle, 0)
  end
  return status
end

--- Records the outcome once.
local function settle(self, status)
  check.status(status)
  if self.finish then self.result = self.finish(self.context, C.mosaic_request_marks(self.handle)) end
  C.mosaic_request_release(ffi.gc(self.handle, nil)) -- it holds what it sent
  self.finish, self.context, self.handle = nil, nil, nil
  return self.result
end

local function wait(self)
  local virtual = self.comm.transport ~= "mpi"
  return settle(self, virtual and wait_for_coroutines(self) or wait_for_processes(self))
end

--- Waits for completion and returns the result; again and again the same one.
function Request:wait()
  if self.handle == nil then return self.result end
  if not span.wanted() then return wait(self) end
  local text = ffi.string(C.mosaic_request_describe(self.handle))
  return span.run("wait for " .. text:match "^%S+", text, wait, self)
end

--- Virtual ranks share a process: an error ends their world, and leaves the prompt.
local function give_up_in_process(self, seconds)
  local text = overdue(self, seconds)
  C.mosaic_request_cancel(self.handle)
  check.fail("%s (MOSAIC_TIMEOUT)", text)
end

--- The first question in vain starts the clock. At the end messages get a last chance to move.
local function asked_in_vain(self)
  self.asked = self.asked or clock()
  local waited = clock() - self.asked
  if waited > SLICE and waited >= timeout() and C.mosaic_request_wait(self.handle, SLICE) == PENDING then
    local mpi = self.comm.transport == "mpi"
    return (mpi and give_up or give_up_in_process)(self, waited)
  end
end

--- Is it complete? A virtual rank that asks in a loop lets the others run. Who asks for longer than
-- MOSAIC_TIMEOUT ends: the job of MPI ranks, as in wait, or with an error the world of virtual ones.
function Request:test()
  if self.handle == nil then return true end
  local status = C.mosaic_request_wait(self.handle, 0)
  if status == PENDING then
    asked_in_vain(self)
    if self.comm.host then self.comm.host:pause(nil) end
    return false
  end
  settle(self, status)
  return true
end

return Request
