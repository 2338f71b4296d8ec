--- The derivative of every simple operation, one row each; record.lua says how to read a row.

local indexing = require "mosaic.autograd.indexing"
local input = require "mosaic.autograd.input"
local products = require "mosaic.autograd.products"

--- Adds g to what has arrived, where a view took it from; nothing has: zeros elsewhere.
local function scatter_view(g, n, sum, view)
  local whole = sum or g:zeros_of(input.shape(n, 1))
  local place = view(whole)
  if sum then place:add_(g) else place:copy_(g) end
  place:free()
  return whole
end

local function inverse_order(order)
  local inverse = {}
  for i, axis in ipairs(order) do inverse[axis < 0 and axis + #order + 1 or axis] = i end
  return inverse
end

local gradients = {
  view = { list = true, function(g, n) return g:reshape(input.shape(n, 1)) end },
  permute = { list = true, function(g, n) return g:permute(inverse_order(n[2])) end },
  slice = { adds = 1, writes = true, fresh = true, function(g, n, sum)
    return scatter_view(g, n, sum, function(whole) return whole:slice(n[2], n[3], n[4], n[5]) end)
  end },
  select = { adds = 1, writes = true, fresh = true, function(g, n, sum)
    return scatter_view(g, n, sum, function(whole) return whole:select(n[2], n[3]) end)
  end },
  expand = { list = true, function(g) return g end },
  matmul = products.matmul,
  linear = products.linear,
  cumsum = { function(g, n) return g:cumsum(n[2], not n[3]) end },
  index_select = { save = { 3 }, indexing.index_select },
  gather = { save = { 3 }, indexing.gather },
  embedding = { save = { 2 }, indexing.embedding },
  index_add = { save = { 3 }, indexing.same, false, false, indexing.index_add_source },
  scatter = { save = { 3 }, indexing.scatter_target, false, false, indexing.scatter_source },
  scatter_add = { save = { 3 }, indexing.same, false, false, indexing.scatter_source },
  softmax = { save = { "out" }, function(g, n) return n.out:softmax_backward(g, n[2]) end },
  log_softmax = { save = { "out" }, function(g, n) return n.out:log_softmax_backward(g, n[2]) end },
  convert = { function(g, n) return g:to { device = input.device(n, 1) } end },
}

--- The rows of operations by the dozen are in files of their own.
for _, name in ipairs { "elementwise", "reduce" } do
  for method, row in pairs(require("mosaic.autograd." .. name)) do gradients[method] = row end
end

return gradients
