--- The derivatives of reads and writes by index, for the rows of gradients.lua. The arguments are
-- (x, axis, index) for reads, (x, axis, index, source) for writes, (weight, index) for embedding.
local input = require "mosaic.autograd.input"

local indexing = {}

--- What was read several times gets the sum.
function indexing.index_select(g, n)
  return g:zeros_of(input.shape(n, 1)):index_add_(n[2], n[3], g)
end

function indexing.gather(g, n)
  return g:zeros_of(input.shape(n, 1)):scatter_add_(n[2], n[3], g)
end

function indexing.embedding(g, n)
  local shape, index = input.shape(n, 1), n[2]
  return g:zeros_of(shape):index_add_(1, index:flatten(), g:reshape(index:numel(), shape[2]))
end

function indexing.same(g) return g end

--- What scatter overwrote has no influence.
function indexing.scatter_target(g, n)
  return g:scatter(n[2], n[3], 0)
end

function indexing.index_add_source(g, n)
  return g:index_select(n[2], n[3])
end

--- The source may be larger than the index; the rest of it has no influence.
function indexing.scatter_source(g, n)
  local read, shape = g:gather(n[2], n[3]), input.shape(n, 4)
  local whole = g:zeros_of(shape)
  local used = whole
  for axis, size in ipairs(read.shape) do used = used:narrow(axis, 1, size) end
  used:copy_(read)
  return whole
end

return indexing
