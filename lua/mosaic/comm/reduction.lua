--- Collectives that do arithmetic: they return new tensors; sums and means are differentiable.
local check = require "mosaic.check"
local create = require "mosaic.tensor.create"
local Comm = require "mosaic.comm.class"
local arguments = require "mosaic.comm.arguments"
local record = require "mosaic.comm.record"

local OPTIONS = { "op", "async" }
local REDUCTIONS = { "sum", "prod", "min", "max" }
local WITH_MEAN = { "sum", "mean", "prod", "min", "max" }

local function no_gradient(call)
  check.fail("%s: op = %q has no gradient; detach() the input, or use sum or mean", call.name, call.op)
end

local function all_reduce_back(call, g) return call.comm:all_reduce(g) end
local function reduce_back(call, g) return call.comm:broadcast(g, call.root) end
local function reduce_scatter_back(call, g) return call.comm:all_gather(g, call.axis, call.sizes) end
local function exscan_back(call, g) return call.comm:exscan(g, { reverse = not call.reverse }) end

local function divide(call, sum) return sum / call.comm.size end

--- The sum (mean, prod, min, max) over all ranks, element by element, on every rank.
function Comm:all_reduce(x, options)
  local where = "all_reduce"
  arguments.tensor(where, x)
  options = check.options(where, options or {}, OPTIONS)
  local op = options.op or "sum"
  local reduction, sums = arguments.reduction(where, op, WITH_MEAN), op == "sum" or op == "mean"
  local call = record.begin(self, where, x, sums and all_reduce_back or no_gradient,
    { op = op, after = op == "mean" and divide })
  return record.run(call, options, call.out, x.c, reduction, -1, call.mark)
end

--- The sum (prod, min, max) of one number of each rank, as a number.
function Comm:total(number, op)
  check.kind("total", "the number", number, "number")
  return self:all_reduce(create.tensor({ number }, { dtype = "f64", device = "cpu" }), { op = op }):item()
end

--- The sum (prod, min, max) over all ranks at root; other ranks get zeros, which take part in backward as
-- any result does: what reaches every rank's x is root's gradient.
function Comm:reduce(x, root, options)
  local where = "reduce"
  arguments.tensor(where, x)
  self:check_rank(where, "root", root)
  options = check.options(where, options or {}, OPTIONS)
  local op = options.op or "sum"
  local reduction = arguments.reduction(where, op, REDUCTIONS)
  local call = record.begin(self, where, x, op == "sum" and reduce_back or no_gradient,
    { op = op, root = root, operation = "all_reduce" })
  return record.run(call, options, call.out, x.c, reduction, root, call.mark)
end

--- The sum over all ranks, of which this rank gets its part along `axis` (default: even parts).
function Comm:reduce_scatter(x, axis, sizes, options)
  local where = "reduce_scatter"
  local at = check.axis(where, axis or 1, arguments.tensor(where, x).ndim)
  options = check.options(where, options or {}, OPTIONS)
  local op = options.op or "sum"
  local reduction = arguments.reduction(where, op, REDUCTIONS)
  sizes = sizes or arguments.even_sizes(x:size(at + 1), self.size)
  local c_sizes = self:check_sizes(where, "sizes", sizes)
  arguments.sum(where, sizes, x, at + 1)
  local call = record.begin(self, where, x, op == "sum" and reduce_scatter_back or no_gradient,
    { op = op, axis = at + 1, sizes = sizes })
  return record.run(call, options, call.out, x.c, at, c_sizes, reduction, call.mark)
end

--- The sum over all lower ranks (reverse = true: all higher ones); zeros where there are none.
function Comm:exscan(x, options)
  local where = "exscan"
  arguments.tensor(where, x)
  options = check.options(where, options or {}, { "reverse", "async" })
  local reverse = options.reverse or false
  local call = record.begin(self, where, x, exscan_back, { reverse = reverse })
  return record.run(call, options, call.out, x.c, reverse, call.mark)
end
