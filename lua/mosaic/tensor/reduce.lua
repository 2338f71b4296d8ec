--- Reductions: many elements to one. `axes` is one axis, a list of axes, or nil for all of them; the
-- reduced axes disappear, or stay with size 1 where `keepdim` is true.
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local Tensor = require "mosaic.tensor.class"

local bor, lshift = bit.bor, bit.lshift

--- The axes as a bit mask of 0-based ones.
local function axis_mask(where, axes, ndim)
  if axes == nil then return lshift(1, ndim) - 1 end
  if type(axes) == "number" then return lshift(1, check.axis(where, axes, ndim)) end
  if type(axes) ~= "table" then
    check.fail("%s: expected an axis or a list of axes, got %s", where, check.show(axes))
  end
  local mask = 0
  for i = 1, #axes do
    local one = lshift(1, check.axis(where, axes[i], ndim))
    if bit.band(mask, one) ~= 0 then check.fail("%s: axis %d is given twice", where, axes[i]) end
    mask = bor(mask, one)
  end
  return mask
end

local function reduce(where, self, op, axes, keepdim, correction)
  local c = Tensor.blank()
  check.call("mosaic_reduce", c, self.c, op, axis_mask(where, axes, self.c.ndim), keepdim or false,
    correction or 0)
  return (Tensor.wrap(c))
end

local REDUCE = {
  sum = C.MOSAIC_REDUCE_SUM, prod = C.MOSAIC_REDUCE_PROD, mean = C.MOSAIC_REDUCE_MEAN,
  amin = C.MOSAIC_REDUCE_MIN, amax = C.MOSAIC_REDUCE_MAX, any = C.MOSAIC_REDUCE_ANY,
  all = C.MOSAIC_REDUCE_ALL, norm = C.MOSAIC_REDUCE_NORM, logsumexp = C.MOSAIC_REDUCE_LOGSUMEXP,
}

for name, op in pairs(REDUCE) do
  Tensor[name] = function(self, axes, keepdim) return (reduce(name, self, op, axes, keepdim)) end
end

--- How many elements go into one result.
function Tensor:reduced_count(axes)
  local mask, count, c = axis_mask("mean", axes, self.c.ndim), 1, self.c
  for i = 0, c.ndim - 1 do
    if bit.band(mask, lshift(1, i)) ~= 0 then count = count * tonumber(c.size[i]) end
  end
  return count
end

local function correction_of(where, options)
  options = check.options(where, options or {}, { "unbiased", "keepdim" })
  return options.unbiased == false and 0 or 1, options.keepdim
end

--- The variance: squared differences from the mean over count - 1 (over count if unbiased = false).
-- options: {unbiased = true, keepdim = false}
function Tensor:var(axes, options)
  local correction, keepdim = correction_of("var", options)
  return reduce("var", self, C.MOSAIC_REDUCE_VAR, axes, keepdim, correction)
end

--- The square root of the variance; same options.
function Tensor:std(axes, options)
  check.options("std", options or {}, { "unbiased", "keepdim" })
  return self:var(axes, options):sqrt()
end

--- The values and 1-based indices (i64) of the largest or smallest elements of one axis.
local function extreme(where, self, largest, axis, keepdim)
  local values, indices = Tensor.blank(), Tensor.blank()
  check.call("mosaic_arg_reduce", values, indices, self.c, largest, check.axis(where, axis, self.c.ndim),
    keepdim or false)
  return Tensor.wrap(values), Tensor.wrap(indices)
end

--- Without an axis the largest element; with one, the largest along it and where (the first of equals).
function Tensor:max(axis, keepdim)
  if axis == nil then return reduce("max", self, C.MOSAIC_REDUCE_MAX) end
  return extreme("max", self, true, axis, keepdim)
end

function Tensor:min(axis, keepdim)
  if axis == nil then return reduce("min", self, C.MOSAIC_REDUCE_MIN) end
  return extreme("min", self, false, axis, keepdim)
end

for name, largest in pairs { argmax = true, argmin = false } do
  --- The 1-based index along the axis; without an axis the index among all elements, row-major.
  Tensor[name] = function(self, axis, keepdim)
    if axis == nil then self, axis, keepdim = self:detach():reshape(-1), 1, false end
    local indices = Tensor.blank()
    check.call("mosaic_arg_reduce", nil, indices, self.c, largest,
      check.axis(name, axis, self.c.ndim), keepdim or false)
    return (Tensor.wrap(indices))
  end
end
