--- What Lua reads of tensors again and again, kept as long as nobody writes them: to read from a device means
-- to wait for it.
local C = require "mosaic.ffi"
local state = require "mosaic.state"

local values = {}

local kept = setmetatable({}, { __mode = "k" }) -- tensor -> { writes, tensor: a copy on the CPU, list }

local function known_of(t)
  local writes, known = tonumber(C.mosaic_tensor_writes(t.c)), kept[t]
  if not known or known.writes ~= writes then
    known = { writes = writes }
    kept[t] = known
  end
  return known
end

--- The tensor itself where it is on the CPU, else its copy there. Not to be written.
function values.on_cpu(t)
  if t.device == "cpu" then return t end
  local known = known_of(t)
  known.tensor = known.tensor or t:detach():cpu()
  state.keep(known.tensor.c)
  return known.tensor
end

--- As t:flat(), but the list is shared: it must not be changed.
function values.of(t)
  local known = known_of(t)
  known.list = known.list or values.on_cpu(t):flat()
  return known.list
end

--- A CPU tensor's copy on a device, which need not be read back.
function values.send(t, device)
  local there = t:to { device = device }
  if there == t then return t end
  state.keep(t.c)
  known_of(there).tensor = t
  return there
end

return values
