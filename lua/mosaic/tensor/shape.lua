--- Views and copies: what a tensor looks like, not what it holds. Axes count from 1, or from -1 back.
local ffi = require "ffi"
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local devices = require "mosaic.device"
local argument = require "mosaic.tensor.argument"
local create = require "mosaic.tensor.create"
local operand = require "mosaic.tensor.operand"
local Tensor = require "mosaic.tensor.class"

local sizes_t = ffi.typeof "int64_t[8]"

local NAMES = { "size 1", "size 2", "size 3", "size 4", "size 5", "size 6", "size 7", "size 8" }

local function size_at(where, list, i)
  return (check.integer(where, NAMES[i], list[i], -1))
end

--- `f(2, 3)` or `f{2, 3}` as a C array and its length. (Written out, as in class.lua.)
local function size_list(where, first, ...)
  local list = type(first) == "table" and first or { first, ... }
  local sizes, ndim = sizes_t(), #list
  if ndim > C.MOSAIC_MAX_DIMS then
    check.fail("%s: %d dims, at most %d are possible", where, ndim, C.MOSAIC_MAX_DIMS)
  end
  if ndim > 0 then sizes[0] = size_at(where, list, 1) end
  if ndim > 1 then sizes[1] = size_at(where, list, 2) end
  if ndim > 2 then sizes[2] = size_at(where, list, 3) end
  if ndim > 3 then sizes[3] = size_at(where, list, 4) end
  for i = 5, ndim do sizes[i - 1] = size_at(where, list, i) end
  return sizes, ndim
end

--- The size of one axis, or the list of all sizes.
function Tensor:size(axis)
  if axis == nil then return self.shape end
  return tonumber(self.c.size[check.axis("size", axis, self.c.ndim)])
end

function Tensor:dim() return self.c.ndim end
function Tensor:numel() return tonumber(C.mosaic_tensor_numel(self.c)) end
function Tensor:element_size() return tonumber(C.mosaic_dtype_bytes(self.c.dtype)) end -- bytes
function Tensor:is_contiguous() return C.mosaic_tensor_is_contiguous(self.c) end

--- Elements from one index of `axis` to the next, or the list for all axes.
function Tensor:stride(axis)
  if axis then return tonumber(self.c.stride[check.axis("stride", axis, self.c.ndim)]) end
  local strides = {}
  for i = 1, self.c.ndim do strides[i] = tonumber(self.c.stride[i - 1]) end
  return strides
end

--- The same elements in other sizes, without a copy; one size may be -1.
function Tensor:view(...)
  local sizes, ndim = size_list("view", ...)
  local c = Tensor.blank()
  check.call("mosaic_view", c, self.c, ndim, sizes)
  return (Tensor.wrap(c))
end

--- Do the strides allow a view in these sizes? (That of the trial would hold the numbers, too, unseen.)
local function has_view(self, sizes, ndim)
  local c = Tensor.blank()
  local has = C.mosaic_view(c, self.c, ndim, sizes) == C.MOSAIC_OK
  C.mosaic_tensor_clear(c)
  return has
end

--- As view, but copies where the strides do not allow one.
function Tensor:reshape(...)
  local sizes, ndim = size_list("reshape", ...)
  if self:is_contiguous() or has_view(self, sizes, ndim) then return (self:view(...)) end
  local copy = self:clone()
  local view = copy:view(...)
  copy:free()
  return view
end

local axes_t = ffi.typeof "int[8]"

local function axis_at(list, i, ndim)
  return (check.axis("permute", list[i], ndim))
end

--- Reorders the axes: `x:permute(1, 3, 2)`.
function Tensor:permute(first, ...)
  local list = type(first) == "table" and first or { first, ... }
  local ndim, axes = self.c.ndim, axes_t()
  if #list ~= ndim then check.fail("permute: %d axes for %s", #list, self:describe()) end
  if ndim > 0 then axes[0] = axis_at(list, 1, ndim) end
  if ndim > 1 then axes[1] = axis_at(list, 2, ndim) end
  if ndim > 2 then axes[2] = axis_at(list, 3, ndim) end
  if ndim > 3 then axes[3] = axis_at(list, 4, ndim) end
  for i = 5, ndim do axes[i - 1] = axis_at(list, i, ndim) end
  local c = Tensor.blank()
  check.call("mosaic_permute", c, self.c, ndim, axes)
  return (Tensor.wrap(c))
end

local swaps = {} -- by numbers of axes: the order with two axes swapped

local function swap(ndim, first, second)
  local key = (ndim * 8 + first) * 8 + second
  if not swaps[key] then
    local order = {}
    for i = 1, ndim do order[i] = i end
    order[first], order[second] = second, first
    swaps[key] = order
  end
  return swaps[key]
end

--- Swaps two axes.
function Tensor:transpose(a, b)
  local ndim = self.c.ndim
  local first, second = check.axis("transpose", a, ndim) + 1, check.axis("transpose", b, ndim) + 1
  return (self:permute(swap(ndim, first, second)))
end

--- Swaps the last two axes.
function Tensor:t() return (self:transpose(-1, -2)) end

--- Elements from..to of one axis (both included, negative from the end), every step-th.
-- An empty range (to = from - 1) gives size 0.
function Tensor:slice(axis, from, to, step)
  local at = check.axis("slice", axis, self.c.ndim)
  local size = tonumber(self.c.size[at])
  local first, last = check.integer("slice", "from", from or 1), check.integer("slice", "to", to or size)
  step = check.integer("slice", "step", step or 1)
  from = first < 0 and first + size + 1 or first
  to = last < 0 and last + size + 1 or last
  if from < 1 or to > size or to < from - 1 or step < 1 then
    check.fail("slice: %d..%d step %d of axis %d is not in %s", first, last, step, at + 1, self:describe())
  end
  local c = Tensor.blank()
  check.call("mosaic_slice", c, self.c, at, from - 1, math.floor((to - from) / step) + 1, step)
  return (Tensor.wrap(c))
end

--- `length` elements of one axis, starting at `start`.
function Tensor:narrow(axis, start, length)
  check.integer("narrow", "start", start)
  return self:slice(axis, start, start + check.integer("narrow", "length", length, 0) - 1)
end

--- Index `index` of one axis; the axis disappears.
function Tensor:select(axis, index)
  local at = check.axis("select", axis, self.c.ndim)
  check.integer("select", "index", index)
  local size = tonumber(self.c.size[at])
  if index == 0 then check.fail("select: index 0 of axis %d: indices count from 1", at + 1) end
  if index < -size then
    check.fail("select: index %d of axis %d is not in %s", index, at + 1, self:describe())
  end
  local c = Tensor.blank()
  check.call("mosaic_select", c, self.c, at, index > 0 and index - 1 or index + size)
  return (Tensor.wrap(c))
end

--- Repeats axes of size 1 (and new leading axes) without a copy; -1 keeps a size.
function Tensor:expand(...)
  local sizes, ndim = size_list("expand", ...)
  local own = self.c.ndim
  for i = 0, ndim - 1 do
    local from = i - (ndim - own)
    if sizes[i] == -1 and from >= 0 then sizes[i] = self.c.size[from] end
  end
  local c = Tensor.blank()
  check.call("mosaic_expand", c, self.c, ndim, sizes)
  return (Tensor.wrap(c))
end

function Tensor:expand_as(other)
  operand("expand_as", "the other operand", other)
  return self:expand(other.shape)
end

--- Inserts an axis of size 1, which will be axis `axis` of the result.
function Tensor:unsqueeze(axis)
  local shape = self.shape
  table.insert(shape, check.axis("unsqueeze", axis, #shape + 1) + 1, 1)
  return self:reshape(shape)
end

--- Removes an axis of size 1 (all of them without an argument).
function Tensor:squeeze(axis)
  local shape, kept = self.shape, {}
  local at = axis and check.axis("squeeze", axis, #shape) + 1
  for i, size in ipairs(shape) do
    if size ~= 1 or (at and at ~= i) then kept[#kept + 1] = size end
  end
  return self:reshape(kept)
end

--- Joins axes first..last into one.
function Tensor:flatten(first, last)
  local shape, flat = self.shape, {}
  if #shape == 0 then return self:reshape(1) end
  local from = check.axis("flatten", first or 1, #shape) + 1
  local to = check.axis("flatten", last or -1, #shape) + 1
  if from > to then check.fail("flatten: axis %d of %s is behind axis %d", from, self:describe(), to) end
  for i = 1, from do flat[i] = shape[i] end
  for i = from + 1, to do flat[from] = flat[from] * shape[i] end
  for i = to + 1, #shape do flat[#flat + 1] = shape[i] end
  return self:reshape(flat)
end

--- Itself when contiguous, else a contiguous copy.
function Tensor:contiguous()
  return self:is_contiguous() and self or self:clone()
end

--- A contiguous copy.
function Tensor:clone()
  return self:convert(self.dtype)
end

--- A contiguous copy with another dtype or device.
function Tensor:convert(dtype, device)
  local c = Tensor.blank()
  check.call("mosaic_convert", c, self.c, create.dtype("to", dtype), device)
  return (Tensor.wrap(c))
end

--- With another dtype or device: `x:to("f64")`, `x:to{device = "cuda"}`; itself when nothing changes.
function Tensor:to(what)
  if type(what) == "string" and (what == "cpu" or what:find "^cuda") then
    check.fail('to: %q is a device, not a dtype: to { device = %q }', what, what)
  end
  local options = type(what) == "string" and { dtype = what } or what
  check.options("to", options, { "dtype", "device" })
  local dtype, device = options.dtype or self.dtype, self.device
  if options.device ~= nil then device = devices.resolve("to", options.device) end
  if dtype == self.dtype and device == self.device then return self end
  return self:convert(dtype, device)
end

function Tensor:cpu() return self:to { device = "cpu" } end

--- On a GPU: `x:cuda()` on this process's own, `x:cuda(1)` on that of this number.
function Tensor:cuda(number)
  return self:to { device = devices.cuda("cuda", number) }
end

--- Overwrites the elements with those of `other` (broadcast, converted). In place.
function Tensor:copy_(other)
  check.call("mosaic_copy", argument.target("copy_", self, other), operand("copy_", "the source", other))
  return self
end

--- Sets all elements to `value`. In place.
function Tensor:fill_(value)
  self:refuse_in_place "fill_"
  check.call("mosaic_fill", self.c, create.value("fill_", self.dtype, value))
  return self
end

function Tensor:zero_() return self:fill_(0) end

--- The tape replaces this: an in-place write must not destroy what a gradient needs.
function Tensor:refuse_in_place() return self end
