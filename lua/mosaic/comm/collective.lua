--- Collectives that move parts of tensors between ranks: they return new tensors and are differentiable.
-- Sizes are lists with one entry per rank (rank 0 first). Axes count from 1. all_gather and all_to_all (and
-- sendrecv) take wire = "bf16", "fp8" or "int8": rows (the last axis) travel in that format (wire.lua),
-- their gradients as they are.
local check = require "mosaic.check"
local Comm = require "mosaic.comm.class"
local arguments = require "mosaic.comm.arguments"
local record = require "mosaic.comm.record"

-- Each is the derivative of another, or of itself.
local function all_gather_back(call, g) return call.comm:reduce_scatter(g, call.axis, call.sizes) end
local function all_to_all_back(call, g) return call.comm:all_to_all(g, call.inverse) end
local function broadcast_back(call, g) return call.comm:reduce(g, call.root) end
local function gather_back(call, g) return call.comm:scatter(g, call.axis, call.root, call.sizes) end
local function scatter_back(call, g) return call.comm:gather(g, call.axis, call.root, call.sizes) end

--- The parts of all ranks along `axis`, in rank order, on every rank. Without `sizes` the ranks tell
-- each other their sizes first.
function Comm:all_gather(x, axis, sizes, options)
  local where = "all_gather"
  local at = check.axis(where, axis or 1, arguments.tensor(where, x).ndim)
  options = check.options(where, options or {}, { "async", "wire" })
  local format = arguments.wire(where, options, x, at)
  sizes = arguments.sizes_along(self, where, x, at + 1, sizes)
  local c_sizes = self:check_sizes(where, "sizes", sizes)
  local call = record.begin(self, where, x, all_gather_back, { axis = at + 1, sizes = sizes, wire = format })
  return record.run(call, options, call.out, record.outgoing(call, x), at, c_sizes, call.mark)
end

--- What each rank sends along the split axis, and what it gets along the concatenated one.
local function exchange_sizes(comm, where, x, options, split, concat)
  local cut = options.split_sizes or arguments.even_sizes(x:size(split), comm.size)
  comm:check_sizes(where, "split_sizes", cut)
  arguments.sum(where, cut, x, split)
  if options.concat_sizes then
    comm:check_sizes(where, "concat_sizes", options.concat_sizes)
    return cut, options.concat_sizes
  elseif split ~= concat then
    return cut, arguments.sizes_along(comm, where, x, concat)
  end
  local joined = {}
  for i, row in ipairs(comm:all_gather_list(cut)) do joined[i] = row[comm.rank + 1] end
  return cut, joined
end

--- Every rank cuts x along split_axis and sends part r to rank r; what arrives is joined along
-- concat_axis in rank order. options: split_axis, concat_axis, split_sizes (default: even parts),
-- concat_sizes (what each rank sends to this one; default: they ask), async, wire.
function Comm:all_to_all(x, options)
  local where = "all_to_all"
  arguments.tensor(where, x)
  options = check.options(where, options or {},
    { "split_axis", "concat_axis", "split_sizes", "concat_sizes", "async", "wire" })
  local ndim = x.ndim
  local split = check.axis(where, check.option(where, options, "split_axis", "integer"), ndim)
  local concat = check.axis(where, check.option(where, options, "concat_axis", "integer"), ndim)
  local format = arguments.wire(where, options, x, split, concat)
  local cut, joined = exchange_sizes(self, where, x, options, split + 1, concat + 1)
  local c_cut = self:check_sizes(where, "split_sizes", cut)
  local c_joined = self:check_sizes(where, "concat_sizes", joined)
  local inverse = {
    split_axis = concat + 1, concat_axis = split + 1, split_sizes = joined, concat_sizes = cut,
  }
  local call = record.begin(self, where, x, all_to_all_back, { inverse = inverse, wire = format })
  local outgoing = record.outgoing(call, x)
  return record.run(call, options, call.out, outgoing, split, c_cut, concat, c_joined, call.mark)
end

--- root's x on every rank. The others give a tensor of the same shape and dtype.
function Comm:broadcast(x, root, options)
  local where = "broadcast"
  arguments.tensor(where, x)
  self:check_rank(where, "root", root)
  options = arguments.options(where, options)
  local source = self.rank == root and x or x:detach()
  local call = record.begin(self, where, source, broadcast_back, { root = root })
  return record.run(call, options, call.out, x.c, root, call.mark)
end

--- The parts of all ranks along `axis` at root; other ranks get a tensor with size 0 there, which
-- takes part in backward as any result does.
function Comm:gather(x, axis, root, sizes, options)
  local where = "gather"
  local at = check.axis(where, axis or 1, arguments.tensor(where, x).ndim)
  self:check_rank(where, "root", root)
  options = arguments.options(where, options)
  sizes = arguments.sizes_along(self, where, x, at + 1, sizes)
  local c_sizes = self:check_sizes(where, "sizes", sizes)
  local call = record.begin(self, where, x, gather_back, { axis = at + 1, sizes = sizes, root = root })
  return record.run(call, options, call.out, x.c, at, c_sizes, root, call.mark)
end

--- This rank's part of root's x along `axis`. Other ranks give any tensor of that dtype with the same
-- other sizes (x:slice(axis, 1, 0) will do) and need `sizes`.
function Comm:scatter(x, axis, root, sizes, options)
  local where = "scatter"
  local at = check.axis(where, axis or 1, arguments.tensor(where, x).ndim)
  self:check_rank(where, "root", root)
  options = arguments.options(where, options)
  local c_sizes = self:check_sizes(where, "sizes", sizes)
  if self.rank == root then arguments.sum(where, sizes, x, at + 1) end
  local source = self.rank == root and x or x:detach()
  local call = record.begin(self, where, source, scatter_back, { axis = at + 1, sizes = sizes, root = root })
  return record.run(call, options, call.out, x.c, at, c_sizes, root, call.mark)
end
