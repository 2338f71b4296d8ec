--- Edges: the places on the tape where gradients arrive.
--
--   edge = { kind, grad = tensor | false, own, node | leaf = tensor, state,
--            place = function | nil: see edges.place }
--   kind = { shape, dtype, device, ... } of the tensor, shared by edges that agree in it
--   own: false; "tensor": nobody else has grad, the Lua object (others may show the same numbers): it is
--   freed as soon as it has been read, so that the next gradient is written to memory that a cache still
--   holds; "numbers": nobody else has its numbers either, so that more is added to it in place
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local state = require "mosaic.state"

local edges = {}

--- Has c this shape? (Written out: a loop here would keep every caller from being compiled.)
local function has_shape(c, shape)
  local ndim, size = #shape, c.size
  if c.ndim ~= ndim then return false end
  if ndim == 0 then return true end
  if size[0] ~= shape[1] then return false end
  if ndim == 1 then return true end
  if size[1] ~= shape[2] then return false end
  if ndim == 2 then return true end
  if size[2] ~= shape[3] then return false end
  if ndim == 3 then return true end
  if size[3] ~= shape[4] then return false end
  for i = 5, ndim do
    if size[i - 1] ~= shape[i] then return false end
  end
  return true
end

--- The kind of t: that of `edge`, where they agree.
local function kind_of(t, edge)
  local c, kind = t.c, edge and edge.kind
  local place = C.mosaic_tensor_device(c)
  if kind and c.dtype == kind.number and place == kind.place and has_shape(c, kind.shape) then return kind end
  return { shape = t.shape, dtype = t.dtype, device = t.device, number = c.dtype, place = place }
end

--- Sums `grad` over the axes along which `shape` was broadcast.
local function unbroadcast(grad, shape)
  local sizes, axes = grad.c, {}
  local extra = sizes.ndim - #shape
  for i = 1, sizes.ndim do
    local own = i > extra and shape[i - extra] or 1
    if own ~= tonumber(sizes.size[i - 1]) or i <= extra then axes[#axes + 1] = i end
  end
  local sum = grad:sum(axes, true)
  local view = sum:view(shape)
  sum:free()
  return view
end

--- Adds a gradient to an edge, in the edge's shape and dtype; own: as an edge's.
function edges.deposit(edge, grad, own)
  local kind, sum, given = edge.kind, edge.grad, grad
  if grad.c.dtype ~= kind.number then grad = grad:to(kind.dtype) end
  if not has_shape(grad.c, kind.shape) then grad = unbroadcast(grad, kind.shape) end
  if grad ~= given then
    if own then given:free() end
    own = "numbers"
  end
  if not sum then
    edge.grad, edge.own = grad, own or false
    return
  elseif edge.own == "numbers" then
    check.call("mosaic_binary", sum.c, sum.c, grad.c, C.MOSAIC_BINARY_ADD, 1, 0)
  else
    edges.replace(edge, sum + grad)
  end
  if own then grad:free() end
end

--- Puts a sum that nobody else has in the place of what had arrived, which nobody reads any more.
function edges.replace(edge, sum)
  if edge.own and not edge.place then edge.grad:free() end
  edge.grad, edge.own = sum, "numbers"
end

--- What has arrived, to be written: a copy where others may have its numbers.
function edges.writable(edge)
  if edge.own ~= "numbers" then edges.replace(edge, edge.grad:clone()) end
  return edge.grad
end

--- A tensor of this dtype to write an edge's gradient into before it is deposited, where that saves a copy;
-- nil: a new one does as well. (Its maker has it, too, and frees it.)
function edges.place(edge, dtype)
  return edge and edge.place and not edge.grad and edge.kind.dtype == dtype and edge.place() or nil
end

--- What arrived has been read for the last time.
local function clear(edge, frees)
  if frees and edge.own then edge.grad:free() end
  edge.grad, edge.own = false, false
end

--- Moves what arrived at a leaf into its .grad, which belongs to the leaf alone.
function edges.settle(edge)
  local leaf, grad, own = edge.leaf, edge.grad, edge.own
  edge.state = false
  if grad and leaf.grad then leaf.grad:add_(grad)
  elseif grad then
    leaf.grad = own == "numbers" and grad or grad:clone()
    state.keep_gradient(leaf)
  end
  clear(edge, leaf.grad ~= grad)
end

--- The gradients of a node's results; frees: also from memory.
function edges.forget(node, frees)
  local outputs = node.outputs
  clear(node, frees)
  for i = 1, outputs and #outputs or 0 do
    clear(outputs[i], frees)
  end
end

edges.has_shape, edges.kind_of, edges.clear = has_shape, kind_of, clear

return edges
