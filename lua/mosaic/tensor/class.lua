--- The tensor: a Lua object around a C view (`.c`), with the fields of its place on the tape.
-- Methods live in the other files of this folder; they know nothing of gradients. The tape
-- (mosaic.autograd) wraps the ones it has a derivative for.
--
--   t.dtype, t.device, t.ndim, t.shape    properties (shape is a fresh Lua list)
--   t[i]                                  t:select(1, i)
--   t.grad, t.edge                        set by the tape
--   t.requires_grad                       is there an edge?
local ffi = require "ffi"
local C = require "mosaic.ffi"
local heap = require "mosaic.heap"
local state = require "mosaic.state"

local Tensor = { class_name = "Tensor" }
local properties = {}

--- An empty C view, to be filled by a C call: `check.call("mosaic_...", c, ...)`.
Tensor.blank = heap.view

--- The Lua object for a filled C view. (The tape's field has its place from the start: one that is
-- missing costs a search, one that is added later a new table. And no tail call here, nor by those
-- who return this: a trace that begins at a function must end at its own return.)
function Tensor.wrap(c)
  heap.poll()
  local made = state.current.made
  if made then
    made.count = made.count + 1
    made.views[made.count] = c
  end
  return (setmetatable({ c = c, edge = false }, Tensor))
end

--- Gives the memory back now instead of when the collector comes by; the tensor is unusable from here on.
-- Views of it keep what they show.
function Tensor:free()
  C.mosaic_tensor_clear(self.c)
end

function Tensor.is(value)
  return getmetatable(value) == Tensor
end

local dtype_names = {} -- by mosaic_dtype
for i = 0, C.MOSAIC_DTYPE_COUNT - 1 do dtype_names[i] = ffi.string(C.mosaic_dtype_name(i)) end

function properties.dtype(t) return dtype_names[t.c.dtype] end

local device_names = {} -- by the address where C has the name

function properties.device(t)
  local name = C.mosaic_tensor_device(t.c)
  local address = tonumber(ffi.cast("intptr_t", name))
  local known = device_names[address]
  if known then return known end
  device_names[address] = ffi.string(name)
  return device_names[address]
end

function properties.ndim(t) return t.c.ndim end
function properties.requires_grad(t) return t.edge ~= false end
--- Written out for the usual numbers of axes: a loop here would keep every caller from being compiled.
local few_axes = {
  [0] = function() return {} end,
  function(s) return { tonumber(s[0]) } end,
  function(s) return { tonumber(s[0]), tonumber(s[1]) } end,
  function(s) return { tonumber(s[0]), tonumber(s[1]), tonumber(s[2]) } end,
  function(s) return { tonumber(s[0]), tonumber(s[1]), tonumber(s[2]), tonumber(s[3]) } end,
}

function properties.shape(t)
  local c = t.c
  local few = few_axes[c.ndim]
  if few then return (few(c.size)) end
  local shape = {}
  for i = 1, c.ndim do shape[i] = tonumber(c.size[i - 1]) end
  return shape
end

function Tensor.__index(t, key)
  local method = Tensor[key]
  if method ~= nil then return method end
  local property = properties[key]
  if property then return (property(t)) end
  if type(key) == "number" then return (t:select(1, key)) end
end

--- "f32 [4,5,6]", for messages.
function Tensor:describe()
  return ffi.string(C.mosaic_tensor_describe(self.c))
end

return Tensor
