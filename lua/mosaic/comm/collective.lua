--- Collectives as functions of tensors: they return new tensors and are differentiable.
-- Sizes are lists with one entry per rank (rank 0 first). Axes count from 1.
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local Comm = require "mosaic.comm.class"
local operation = require "mosaic.comm.record"
local Tensor = require "mosaic.tensor"

local REDUCTIONS = {
  sum = C.MOSAIC_COMM_SUM, prod = C.MOSAIC_COMM_PROD, min = C.MOSAIC_COMM_MIN, max = C.MOSAIC_COMM_MAX,
}
local NAMES = { "sum", "mean", "prod", "min", "max" }

local function check_tensor(where, x)
  if not Tensor.is(x) then check.fail("%s: expected a tensor, got %s", where, check.show(x)) end
  return x
end

--- The options of a call, and the C number of its reduction.
local function check_options(where, options, known)
  options = check.options(where, options or {}, known or { "async" })
  local op = check.one_of(where, "op", options.op or "sum", NAMES)
  return options, REDUCTIONS[op == "mean" and "sum" or op], op
end

--- size cut into parts as even as possible, the first ones longer.
local function even_sizes(size, parts)
  local sizes, rest = {}, size % parts
  for i = 1, parts do sizes[i] = (size - rest) / parts + (i <= rest and 1 or 0) end
  return sizes
end

local function check_sum(where, sizes, x, axis)
  local total = 0
  for _, size in ipairs(sizes) do total = total + size end
  if total ~= x:size(axis) then
    check.fail("%s: the sizes add up to %d, but axis %d of %s", where, total, axis, x:describe())
  end
end

--- Every rank's size along `axis`: the given ones, or by asking (one small message to each rank).
local function sizes_along(comm, where, x, axis, sizes)
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

--- No rank's elements come back changed but by the sum.
local function refuse_gradient(where, op)
  return function()
    check.fail("%s: op = %q has no gradient; detach() the input, or use sum or mean", where, op)
  end
end

--- The sum (mean, prod, min, max) over all ranks, element by element, on every rank.
function Comm:all_reduce(x, options)
  local where = "all_reduce"
  check_tensor(where, x)
  local reduction, op
  options, reduction, op = check_options(where, options, { "op", "async" })
  local sums = op == "sum" or op == "mean"
  return operation(self, {
    name = where, x = x, async = options.async,
    backward = sums and function(g) return self:all_reduce(g) end or refuse_gradient(where, op),
    after = op == "mean" and function(sum) return sum / self.size end,
  }, function(out, mark) return out, x.c, reduction, -1, mark end)
end

--- The parts of all ranks along `axis`, in rank order, on every rank. Without `sizes` the ranks tell
-- each other their sizes first.
function Comm:all_gather(x, axis, sizes, options)
  local where = "all_gather"
  local at = check.axis(where, axis or 1, check_tensor(where, x).ndim)
  options = check_options(where, options)
  sizes = sizes_along(self, where, x, at + 1, sizes)
  local c_sizes = self:check_sizes(where, "sizes", sizes)
  return operation(self, {
    name = where, x = x, async = options.async,
    backward = function(g) return self:reduce_scatter(g, at + 1, sizes) end,
  }, function(out, mark) return out, x.c, at, c_sizes, mark end)
end

--- The sum over all ranks, of which this rank gets its part along `axis` (default: even parts).
function Comm:reduce_scatter(x, axis, sizes, options)
  local where = "reduce_scatter"
  local at = check.axis(where, axis or 1, check_tensor(where, x).ndim)
  local reduction, op
  options, reduction, op = check_options(where, options, { "op", "async" })
  if op == "mean" then check.fail("%s: op = 'mean' is not one of sum, prod, min, max", where) end
  sizes = sizes or even_sizes(x:size(at + 1), self.size)
  local c_sizes = self:check_sizes(where, "sizes", sizes)
  check_sum(where, sizes, x, at + 1)
  return operation(self, {
    name = where, x = x, async = options.async,
    backward = op == "sum" and function(g) return self:all_gather(g, at + 1, sizes) end
      or refuse_gradient(where, op),
  }, function(out, mark) return out, x.c, at, c_sizes, reduction, mark end)
end

--- What each rank sends along the split axis, and what it gets along the concatenated one.
local function exchange_sizes(comm, where, x, options, split, concat)
  local cut = options.split_sizes or even_sizes(x:size(split), comm.size)
  comm:check_sizes(where, "split_sizes", cut)
  check_sum(where, cut, x, split)
  if options.concat_sizes then
    comm:check_sizes(where, "concat_sizes", options.concat_sizes)
    return cut, options.concat_sizes
  elseif split ~= concat then
    return cut, sizes_along(comm, where, x, concat)
  end
  local joined = {}
  for i, row in ipairs(comm:all_gather_list(cut)) do joined[i] = row[comm.rank + 1] end
  return cut, joined
end

--- Every rank cuts x along split_axis and sends part r to rank r; what arrives is joined along
-- concat_axis in rank order. options: split_axis, concat_axis, split_sizes (default: even parts),
-- concat_sizes (what each rank sends to this one; default: they ask), async.
function Comm:all_to_all(x, options)
  local where = "all_to_all"
  check_tensor(where, x)
  options = check.options(where, options or {},
    { "split_axis", "concat_axis", "split_sizes", "concat_sizes", "async" })
  local ndim = x.ndim
  local split = check.axis(where, check.option(where, options, "split_axis", "integer"), ndim)
  local concat = check.axis(where, check.option(where, options, "concat_axis", "integer"), ndim)
  local cut, joined = exchange_sizes(self, where, x, options, split + 1, concat + 1)
  local c_cut = self:check_sizes(where, "split_sizes", cut)
  local c_joined = self:check_sizes(where, "concat_sizes", joined)
  return operation(self, {
    name = where, x = x, async = options.async,
    backward = function(g)
      return self:all_to_all(g, {
        split_axis = concat + 1, concat_axis = split + 1, split_sizes = joined, concat_sizes = cut,
      })
    end,
  }, function(out, mark) return out, x.c, split, c_cut, concat, c_joined, mark end)
end

--- root's x on every rank. The others give a tensor of the same shape and dtype.
function Comm:broadcast(x, root, options)
  local where = "broadcast"
  check_tensor(where, x)
  self:check_rank(where, "root", root)
  options = check_options(where, options)
  local source = self.rank == root and x or x:detach()
  return operation(self, {
    name = where, x = source, async = options.async,
    backward = function(g) return self:reduce(g, root) end,
  }, function(out, mark) return out, x.c, root, mark end)
end

--- The sum over all ranks at root; other ranks get a tensor whose values mean nothing. No gradient.
function Comm:reduce(x, root, options)
  local where = "reduce"
  check_tensor(where, x)
  self:check_rank(where, "root", root)
  local reduction
  options, reduction = check_options(where, options, { "op", "async" })
  return operation(self, { name = "all_reduce", x = x:detach(), async = options.async },
    function(out) return out, x.c, reduction, root, 0 end)
end

--- The parts of all ranks along `axis` at root; other ranks get a tensor with size 0 there, which
-- takes part in backward as any result does.
function Comm:gather(x, axis, root, sizes, options)
  local where = "gather"
  local at = check.axis(where, axis or 1, check_tensor(where, x).ndim)
  self:check_rank(where, "root", root)
  options = check_options(where, options)
  sizes = sizes_along(self, where, x, at + 1, sizes)
  local c_sizes = self:check_sizes(where, "sizes", sizes)
  return operation(self, {
    name = where, x = x, async = options.async,
    backward = function(g) return self:scatter(g, at + 1, root, sizes) end,
  }, function(out, mark) return out, x.c, at, c_sizes, root, mark end)
end

--- This rank's part of root's x along `axis`. Other ranks give any tensor of that dtype with the same
-- other sizes (x:slice(axis, 1, 0) will do) and need `sizes`.
function Comm:scatter(x, axis, root, sizes, options)
  local where = "scatter"
  local at = check.axis(where, axis or 1, check_tensor(where, x).ndim)
  self:check_rank(where, "root", root)
  options = check_options(where, options)
  local c_sizes = self:check_sizes(where, "sizes", sizes)
  if self.rank == root then check_sum(where, sizes, x, at + 1) end
  local source = self.rank == root and x or x:detach()
  return operation(self, {
    name = where, x = source, async = options.async,
    backward = function(g) return self:gather(g, at + 1, root, sizes) end,
  }, function(out, mark) return out, x.c, at, c_sizes, root, mark end)
end

--- The sum over all lower ranks (reverse = true: all higher ones); zeros where there are none.
function Comm:exscan(x, options)
  local where = "exscan"
  check_tensor(where, x)
  options = check.options(where, options or {}, { "reverse", "async" })
  local reverse = options.reverse or false
  return operation(self, {
    name = where, x = x, async = options.async,
    backward = function(g) return self:exscan(g, { reverse = not reverse }) end,
  }, function(out, mark) return out, x.c, reverse, mark end)
end
