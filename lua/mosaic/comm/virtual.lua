--- Virtual ranks: coroutines of one process that run the same body, with real arithmetic.
-- A rank runs until it waits for something that is not there, then the next one does. When all have
-- had their turn and nothing has moved, nothing ever will: that is a deadlock, and it is reported.
local ffi = require "ffi"
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local state = require "mosaic.state"
local Comm = require "mosaic.comm.class"

local SHOWN = 16 -- ranks in a report

local Host = {} -- one virtual rank: { number, thread, state, comm, waits_for = request | nil, result }
Host.__index = Host

--- Lets the others run; `request` is what this rank waits for (nil: nothing in particular).
function Host:pause(request)
  if coroutine.running() ~= self.thread then
    check.fail("rank %d: a virtual rank cannot wait inside a coroutine of its own, nor outside of spawn",
      self.number)
  end
  self.waits_for = request
  self.polls = request == nil
  coroutine.yield()
end

--- What the rank has started, it finishes: others may still need its messages.
local function drain(host)
  host.draining = true
  while C.mosaic_comm_poll(host.comm.handle) > 0 do
    host.waits_for, host.polls = nil, false
    coroutine.yield()
  end
end

local function new_host(number, handle, body)
  local host = setmetatable({ number = number, state = state.new() }, Host)
  host.comm = Comm.wrap(handle, host)
  host.state.comm, host.state.account = host.comm, number + 1
  check.call("mosaic_attention_work_reset", host.state.account)
  host.state.device = state.current.device
  host.thread = coroutine.create(function()
    host.result = body(host.comm)
    drain(host)
  end)
  host.state.thread = host.thread
  return host
end

--- Names the rank in its error and keeps its traceback; an error object stays what it is.
local function raise(host, message)
  local name = ("rank %d: "):format(host.number)
  if type(message) == "table" then
    if type(message.message) == "string" then message.message = name .. message.message end
    error(message, 0)
  end
  error(("%s%s\n%s"):format(name, tostring(message), debug.traceback(host.thread)), 0)
end

--- Runs a rank up to its next pause. Did anything happen?
local function resume(host)
  local before, events = state.current, C.mosaic_comm_events(host.comm.handle)
  state.current = host.state
  C.mosaic_memory_open_account(host.state.account)
  local ok, message = coroutine.resume(host.thread)
  state.current = before
  C.mosaic_memory_open_account(before.account)
  if not ok then raise(host, message) end
  host.done = coroutine.status(host.thread) == "dead"
  local handle = host.comm.handle
  return host.done or host.polls or C.mosaic_comm_events(handle) ~= events or C.mosaic_comm_paced(handle)
end

local function describe(host)
  if host.done then return ("rank %d has finished"):format(host.number) end
  if host.draining then
    return ("rank %d has finished without waiting for %s"):format(host.number,
      ffi.string(C.mosaic_comm_oldest(host.comm.handle)))
  end
  local line = check.where(host.thread):gsub(": $", "")
  return ("rank %d waits for %s (%s)"):format(host.number, host.waits_for:describe(), line)
end

local function report_deadlock(hosts)
  local waiting, finished = {}, {}
  for _, host in ipairs(hosts) do
    local list = host.done and finished or waiting
    list[#list + 1] = describe(host)
  end
  for _, text in ipairs(finished) do waiting[#waiting + 1] = text end
  local more = #waiting - SHOWN
  check.fail("deadlock: %s%s", table.concat(waiting, "; ", 1, math.min(#waiting, SHOWN)),
    more > 0 and ("; and %d more"):format(more) or "")
end

local function run(hosts)
  repeat
    local live, moved = 0, false
    for _, host in ipairs(hosts) do
      if not host.done then
        moved = resume(host) or moved
        if not host.done then live = live + 1 end
      end
    end
    if live > 0 and not moved then report_deadlock(hosts) end
  until live == 0
end

--- Runs body(comm) on `size` virtual ranks; returns the list of their (first) results.
return function(size, body)
  check.integer("virtual", "the number of ranks", size, 1)
  check.callable("virtual", "the body", body)
  local handles, hosts = ffi.new("mosaic_comm *[?]", size), {}
  check.call("mosaic_comm_new_virtual", handles, size)
  for i = 1, size do hosts[i] = new_host(i - 1, handles[i - 1], body) end
  local ok, message = pcall(run, hosts)
  C.mosaic_comm_end_world(hosts[1].comm.handle)
  if not ok then error(message, 0) end
  local results = {}
  for i, host in ipairs(hosts) do results[i] = host.result end
  return results
end
