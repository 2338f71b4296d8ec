--- The derivative of every simple operation, one row each; record.lua says how to read a row.

local indexing = require "mosaic.autograd.indexing"
local products = require "mosaic.autograd.products"

--- Puts g where a view took it from: zeros elsewhere.
local function scatter_view(g, n, view)
  local whole = g:zeros_of(n.inputs[1].shape)
  view(whole):copy_(g)
  return whole
end

local function inverse_order(order)
  local inverse = {}
  for i, axis in ipairs(order) do inverse[axis < 0 and axis + #order + 1 or axis] = i end
  return inverse
end

local gradients = {
  view = { function(g, n) return g:reshape(n.inputs[1].shape) end },
  permute = { function(g, n)
    return g:permute(inverse_order(type(n[2]) == "table" and n[2] or { unpack(n, 2, g.ndim + 1) }))
  end },
  slice = { function(g, n)
    return scatter_view(g, n, function(whole) return whole:slice(n[2], n[3], n[4], n[5]) end)
  end },
  select = { function(g, n)
    return scatter_view(g, n, function(whole) return whole:select(n[2], n[3]) end)
  end },
  expand = { function(g) return g end },
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
  convert = { function(g, n) return g:to { device = n.inputs[1].device } end },
}

--- The rows of operations by the dozen are in files of their own.
for _, name in ipairs { "elementwise", "reduce" } do
  for method, row in pairs(require("mosaic.autograd." .. name)) do gradients[method] = row end
end

return gradients
