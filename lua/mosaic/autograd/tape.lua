--- The tape: what was computed, and how a gradient flows back through it.
--
-- A tensor that takes part in a gradient has an `edge`, the place where its gradient arrives:
--   edge = { kind, grad = tensor | false, own, node | leaf = tensor, state,
--            place = function | nil: see tape.place }
--   kind = { shape, dtype, device, ... } of the tensor, shared by edges that agree in it
--   own: grad is a sum that nobody else has, so that more is added to it in place
-- A node is one recorded call. The node of one result is that result's edge, too; of several, it has
-- them in `outputs`:
--   node = { row = { name, rule }, sequence, state, inputs = {edge or false, ...}, ... }
--   state: false, the walk that it waits in, or "spent"
-- (Nodes of methods, which are many, keep `inputs` in places of their own, see record.lua.)
-- Nodes are numbered as they are made, so walking back means: always the highest number first.
-- Gradients accumulate: in a leaf's `.grad` over calls of backward, in an edge over its uses.
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local heap = require "mosaic.heap"
local state = require "mosaic.state"
local operand = require "mosaic.tensor.operand"
local Line = require "mosaic.autograd.line"
local Tensor = require "mosaic.tensor"

local NONE = {}

local tape = {}
local sequence = 0

--- Is this call being recorded on this rank?
function tape.recording()
  return state.current.recording
end

local function restored(rank, before, ok, ...)
  rank.recording = before
  if not ok then error((...), 0) end
  return ...
end

local function with_recording(where, on, body, ...)
  check.callable(where, "the body", body)
  local rank = state.current
  local before = rank.recording
  rank.recording = on
  return restored(rank, before, pcall(body, ...))
end

--- Runs body(...) with recording on or off; returns its results, and restores on error.
function tape.with_recording(on, body, ...)
  return with_recording("with_recording", on, body, ...)
end

function tape.no_grad(body, ...)
  return with_recording("no_grad", false, body, ...)
end

-- ---- edges and nodes --------------------------------------------------------------------------------

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

local function next_number()
  sequence = sequence + 1
  return sequence
end

tape.kind_of, tape.next_number = kind_of, next_number

--- A node with the next number; `inputs` are the edges of the arguments that want a gradient.
function tape.new_node(name, rule, inputs)
  return {
    row = { name = name, rule = rule }, sequence = next_number(), inputs = inputs, state = false,
    kind = false, grad = false, own = false, node = false, leaf = false, outputs = false, saved = false,
    collective = false, context = false,
  }
end

--- Makes node the producer of its only result, which becomes part of the graph.
function tape.attach(node, t)
  node.kind = kind_of(t, node.inputs[1])
  t.edge = node
end

--- The same for a list of results; those that are nil or false have no gradient.
function tape.attach_list(node, list, count)
  node.outputs = {}
  for i = 1, count or #list do
    local t = list[i]
    local edge = t and { kind = kind_of(t), grad = false, own = false, node = node, leaf = false }
    if edge then t.edge = edge end
    node.outputs[i] = edge or false
  end
end

--- Remembers a tensor for backward, and how often it had been written.
function tape.save(node, key, t)
  node[key] = t
  local saved = node.saved or {}
  node.saved = saved
  saved[#saved + 1] = t
  saved[#saved + 1] = tonumber(C.mosaic_tensor_writes(t.c))
end

--- Fails unless t is as it was when it had been written so often.
function tape.check_saved(node, t, writes)
  if C.mosaic_tensor_writes(t.c) == writes then return end
  local name = node.row.name
  if t.c.storage == nil then check.fail("backward: a tensor was freed that %s needs", name) end
  check.fail("backward: %s was changed in place after %s had used it", t:describe(), name)
end

-- ---- gradients --------------------------------------------------------------------------------------

--- Sums `grad` over the axes along which `shape` was broadcast.
local function unbroadcast(grad, shape)
  local sizes, axes = grad.c, {}
  local extra = sizes.ndim - #shape
  for i = 1, sizes.ndim do
    local own = i > extra and shape[i - extra] or 1
    if own ~= tonumber(sizes.size[i - 1]) or i <= extra then axes[#axes + 1] = i end
  end
  return grad:sum(axes, true):reshape(shape)
end

--- Adds a gradient to an edge, in the edge's shape and dtype.
local function deposit(edge, grad)
  local kind, sum = edge.kind, edge.grad
  if grad.c.dtype ~= kind.number then grad = grad:to(kind.dtype) end
  if not has_shape(grad.c, kind.shape) then grad = unbroadcast(grad, kind.shape) end
  if not sum then
    edge.grad = grad
  elseif edge.own then
    check.call("mosaic_binary", sum.c, sum.c, grad.c, C.MOSAIC_BINARY_ADD, 1, 0)
  else
    edge.grad, edge.own = sum + grad, true
  end
end

tape.deposit = deposit

--- A tensor of this dtype to write an edge's gradient into before it is deposited, where that saves a copy;
-- nil: a new one does as well.
function tape.place(edge, dtype)
  return edge and edge.place and not edge.grad and edge.kind.dtype == dtype and edge.place() or nil
end

--- Moves what arrived at a leaf into its .grad, which belongs to the leaf alone.
local function settle(edge)
  local leaf, grad, own = edge.leaf, edge.grad, edge.own
  edge.grad, edge.own, edge.state = false, false, false
  if not grad then return end
  if leaf.grad then leaf.grad:add_(grad) else leaf.grad = own and grad or grad:clone() end
end

local function forget_gradients(node)
  local outputs = node.outputs
  node.grad, node.own = false, false
  for i = 1, outputs and #outputs or 0 do
    if outputs[i] then outputs[i].grad, outputs[i].own = false, false end
  end
end

-- ---- the walk ---------------------------------------------------------------------------------------

--- Has a gradient arrived at any result?
local function arrived(node)
  local outputs = node.outputs
  if node.grad or node.collective then return true end
  for i = 1, outputs and #outputs or 0 do
    if outputs[i] and outputs[i].grad then return true end
  end
  return false
end

--- One node with `inputs`: from the gradients of its results to those of its arguments.
local function run(node, line, keep)
  local inputs, saved = node.inputs, node.saved
  for i = 1, #inputs do
    if inputs[i] then line:enter(inputs[i]) end
  end
  for i = 1, saved and #saved or 0, 2 do tape.check_saved(node, saved[i], saved[i + 1]) end
  if arrived(node) then node.row.rule(node) end
  forget_gradients(node)
  node.state = not keep and "spent"
  if not keep then node.saved, node.context, node.inputs = false, false, NONE end
end

--- All nodes that wait, newest first, and those that they bring. A row with `run` does all by itself.
local function walk(line, keep)
  repeat
    while line.at <= line.last do
      local node = line:take()
      if node then (node.row.run or run)(node, line, keep) end
    end
  until not line:advance()
  for i = 1, line.leaf_count do settle(line.leaves[i]) end
end

--- After an error: nothing half-summed may be left for the next walk.
local function forget(line)
  line:each(function(target)
    forget_gradients(target)
    target.state = false
  end)
end

local function begin(line, edges, gradients)
  for i = 1, #edges do line:enter(edges[i]) end
  for i = 1, #edges do deposit(edges[i], gradients[i]) end
end

local function root_gradient(t, grad)
  operand("backward", "what to start from", t)
  if not t.edge then
    check.fail("backward: %s does not depend on anything that requires a gradient", t:describe())
  end
  if grad == nil then
    if t:numel() ~= 1 then
      check.fail("backward: %s is not a scalar, so the gradient to start from must be given", t:describe())
    end
    return t:ones_like()
  end
  operand("backward", "the gradient", grad)
  if not has_shape(grad.c, t.shape) then
    check.fail("backward: the gradient is %s, the tensor %s", grad:describe(), t:describe())
  end
  return grad
end

local function start(edges, gradients, line, keep)
  begin(line, edges, gradients)
  walk(line, keep)
end

--- Walks back from several tensors at once; `grads[i]` (nil: 1 for a scalar) starts at roots[i].
function tape.backward(roots, grads, options)
  options = check.options("backward", options or {}, { "retain_graph" })
  local edges, gradients = {}, {}
  check.kind("backward", "what to start from", roots, "table")
  for i, t in ipairs(roots) do
    gradients[i], edges[i] = root_gradient(t, grads and grads[i]), t.edge
  end
  local line, keep = Line.new(edges), options.retain_graph
  heap.begin_walk()
  local ok, message = pcall(tape.no_grad, start, edges, gradients, line, keep)
  if not ok then
    forget(line)
    error(message, 0)
  end
  line:done()
  if not keep then heap.end_walk() end
end

--- From this tensor back to every leaf; `grad` starts it (default 1 for a scalar).
-- options.retain_graph keeps the tape for a second walk.
function Tensor:backward(grad, options)
  tape.backward({ self }, { grad }, options)
  return self
end

--- Marks a leaf: its `.grad` will be filled by backward.
function Tensor:requires_grad_(on)
  if self.edge and not self.edge.leaf then
    check.fail("requires_grad_: %s is a result, not a leaf", self:describe())
  end
  on = on ~= false
  if on and not self.dtype:match "f" then
    check.fail("requires_grad_: %s is not a float tensor", self:describe())
  end
  self.edge = on and {
    kind = kind_of(self), grad = false, own = false, node = false, leaf = self, state = false,
  }
  return self
end

--- The same values, cut off the tape.
function Tensor:detach()
  local c = Tensor.blank()
  check.call("mosaic_alias", c, self.c)
  return (Tensor.wrap(c))
end

--- In-place writes are for tensors outside the graph, or under no_grad.
function Tensor:refuse_in_place(where)
  if self.edge and state.current.recording then
    check.fail("%s: %s takes part in a gradient; use the form without '_', detach(), or mosaic.no_grad",
      where, self:describe())
  end
  return self
end

return tape
