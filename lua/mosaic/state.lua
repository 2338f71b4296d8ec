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

return state
