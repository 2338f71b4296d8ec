--- What belongs to one rank rather than to the process: `state.current.recording` and the like.
-- Virtual ranks are coroutines of one process, so whoever resumes one swaps `current` around it.
local state = {}

function state.new()
  return {
    recording = true, -- does the tape record?
    agreed_bytes = 0, -- sent only to agree on shapes, masks, documents
    made = false,     -- while a scope runs: what was made there, see tensor/scope.lua
    thread = nil,     -- a virtual rank's coroutine
    plan = nil,       -- a table while verify runs: attend puts its plan and sizes there
    device = nil,     -- where tensors are made, in full; nil: not asked yet, see device.lua
    account = 0,      -- of memory and work, see mosaic_memory_open_account
    comm = nil,       -- the rank's world communicator, once asked for
    splitting = nil,  -- the request of a split of communicators that is under way
    mesh = nil,       -- set by mosaic.init
    generator = nil,  -- default random generator
    places = nil,     -- where generators stood, while Generator.watch runs
  }
end

state.current = state.new()

local WEAK_KEYS = { __mode = "k" }

--- Keeps a tensor's view beyond the scopes that run.
function state.keep(c)
  local made = state.current.made
  while made do
    made.kept = made.kept or setmetatable({}, WEAK_KEYS)
    made.kept[c] = true
    made = made.outer
  end
end

--- Keeps what a leaf has in .grad when a scope ends. (Not what it had: a gradient that zero_grad has dropped
-- is freed, so that the next step's lie in the same memory, which a cache still holds.)
function state.keep_gradient(leaf)
  local made = state.current.made
  if not made then return end
  made.leaves[#made.leaves + 1] = leaf
end

--- Does the rank itself run, and none of its coroutines? (Some Luas count the main program as one.)
local function is_own_thread(rank)
  local thread, main = coroutine.running()
  return main or thread == rank.thread
end

local function explained(where, message)
  if type(message) ~= "string" or not message:find "C%-call boundary$" then return message end
  return ("%s: the body of %s cannot yield in a coroutine"):format(message, where)
end

--- pcall(body, ...) for a body that runs with something of the rank's changed. A coroutine of the caller's
-- cannot yield in it: others would have the change meanwhile, and keep it if nobody resumed that one. Lua
-- refuses to yield through gsub. (Virtual ranks may, as each has a state of its own.)
function state.call(rank, where, body, ...)
  if is_own_thread(rank) then return pcall(body, ...) end
  local arguments, count, results = { ... }, select("#", ...), nil
  local function keep(...) results = { n = select("#", ...), ... } end
  string.gsub(".", ".", function() keep(pcall(body, unpack(arguments, 1, count))) end)
  if not results[1] then results[2] = explained(where, results[2]) end
  return unpack(results, 1, results.n)
end

local function restored(rank, field, before, ok, ...)
  rank[field] = before
  if not ok then error((...), 0) end
  return ...
end

--- Runs body(...), as call does, with a field of the rank's changed; returns its results. Restores on error.
function state.with(field, value, where, body, ...)
  local rank = state.current
  local before = rank[field]
  rank[field] = value
  return restored(rank, field, before, state.call(rank, where, body, ...))
end

return state
