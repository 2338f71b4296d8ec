--- Checks of what collectives are called with. Sizes are lists with one entry per rank, rank 0 first.
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local Tensor = require "mosaic.tensor"
local wire = require "mosaic.wire"

local arguments = {}

local REDUCTIONS = {
  sum = C.MOSAIC_COMM_SUM, prod = C.MOSAIC_COMM_PROD, min = C.MOSAIC_COMM_MIN, max = C.MOSAIC_COMM_MAX,
}
local ASYNC = { "async" }

function arguments.tensor(where, x)
  if not Tensor.is(x) then check.fail("%s: expected a tensor, got %s", where, check.show(x)) end
  return x
end

function arguments.options(where, options)
  return check.options(where, options or {}, ASYNC)
end

--- The format that rows are to travel in (wire.lua), or nil. Only whole rows can: the axes along which x is
-- cut and joined (0-based) are not the last.
function arguments.wire(where, options, x, ...)
  if options.wire == nil then return nil end
  for _, axis in ipairs { ... } do
    if axis == x.ndim - 1 then
      check.fail("%s: with wire = '%s' rows travel whole, but axis %d of %s is the rows' own", where,
        wire.check(options.wire, where), axis + 1, x:describe())
    end
  end
  return wire.check(options.wire, where)
end

--- The C number of a reduction, one of `names`; the mean is a sum.
function arguments.reduction(where, op, names)
  return REDUCTIONS[check.one_of(where, "op", op or "sum", names)] or REDUCTIONS.sum
end

--- size cut into parts as even as possible, the first ones longer.
function arguments.even_sizes(size, parts)
  local sizes, rest = {}, size % parts
  for i = 1, parts do sizes[i] = (size - rest) / parts + (i <= rest and 1 or 0) end
  return sizes
end

--- The sizes must add up to what x has along `axis`.
function arguments.sum(where, sizes, x, axis)
  local total = 0
  for _, size in ipairs(sizes) do total = total + size end
  if total ~= x:size(axis) then
    check.fail("%s: the sizes add up to %d, but axis %d of %s", where, total, axis, x:describe())
  end
end

--- Every rank's size along `axis`: the given ones, or by asking (one small message to each rank).
function arguments.sizes_along(comm, where, x, axis, sizes)
  if sizes then
    comm:check_sizes(where, "sizes", sizes)
    if sizes[comm.rank + 1] ~= x:size(axis) then
      check.fail("%s: sizes[%d] is %d, but rank %d has %s", where, comm.rank + 1, sizes[comm.rank + 1],
        comm.rank, x:describe())
    end
    return sizes
  end
  local shape = x.shape
  shape[axis > 0 and axis or axis + #shape + 1] = "*"
  local all = comm:agree(where, { dtype = x.dtype, shape = shape }, { size = x:size(axis) })
  local found = {}
  for i, row in ipairs(all) do found[i] = row.size end
  return found
end

return arguments
