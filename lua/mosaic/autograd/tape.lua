--- The tape: what was computed, and how a gradient flows back through it.
--
-- A tensor that takes part in a gradient has an `edge`, the place where its gradient arrives:
--   edge = { shape, dtype, device, leaf = tensor | nil, node = node | nil, grad = tensor | nil,
--            place = function | nil: see tape.place }
-- A node is one recorded call:
--   node = { sequence, rule, name, inputs = {edge or false, ...}, outputs = {edge, ...},
--            [i] = argument i, out = result, ... }
-- Nodes are numbered as they are made, so walking back means: always the highest number first.
-- Gradients accumulate: in a leaf's `.grad` over calls of backward, in an edge over its uses.
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local state = require "mosaic.state"
local operand = require "mosaic.tensor.operand"
local Tensor = require "mosaic.tensor"

local tape = {}
local sequence = 0

--- Is this call being recorded on this rank?
function tape.recording()
  return state.current.recording
end

local function with_recording(where, on, body, ...)
  check.callable(where, "the body", body)
  local rank = state.current
  local before = rank.recording
  rank.recording = on
  return (function(ok, ...)
    rank.recording = before
    if not ok then error((...), 0) end
    return ...
  end)(pcall(body, ...))
end

--- Runs body(...) with recording on or off; returns its results, and restores on error.
function tape.with_recording(on, body, ...)
  return with_recording("with_recording", on, body, ...)
end

function tape.no_grad(body, ...)
  return with_recording("no_grad", false, body, ...)
end

local function new_edge(t)
  return { shape = t.shape, dtype = t.dtype, device = t.device }
end

local function produce(node, i, t)
  local edge = new_edge(t)
  edge.node = node
  t.edge, t.requires_grad = edge, true
  node.outputs[i] = edge
end

--- Makes node the producer of its results: each becomes part of the graph.
function tape.attach(node, first, ...)
  node.outputs = {}
  if first then produce(node, 1, first) end
  for i = 1, select("#", ...) do
    local t = select(i, ...)
    if t then produce(node, i + 1, t) end
  end
end

--- The same for a list of any length.
function tape.attach_list(node, list)
  node.outputs = {}
  for i, t in ipairs(list) do produce(node, i, t) end
end

--- A node with the next number; `inputs` are the edges of the arguments that want a gradient.
function tape.new_node(name, rule, inputs)
  sequence = sequence + 1
  return { sequence = sequence, name = name, rule = rule, inputs = inputs, outputs = false }
end

--- Remembers a tensor for backward, and how often it had been written.
function tape.save(node, key, t)
  node[key] = t
  local saved = node.saved
  if not saved then
    saved = {}
    node.saved = saved
  end
  saved[#saved + 1] = t
  saved[#saved + 1] = tonumber(C.mosaic_tensor_writes(t.c))
end

local function check_saved(node)
  local saved = node.saved
  if not saved then return end
  for i = 1, #saved, 2 do
    if C.mosaic_tensor_writes(saved[i].c) ~= saved[i + 1] then
      check.fail("backward: %s was changed in place after %s had used it", saved[i]:describe(), node.name)
    end
  end
end

--- Sums `grad` over the axes along which `shape` was broadcast.
local function unbroadcast(grad, shape)
  local sizes = grad.c
  local extra = sizes.ndim - #shape
  local axes
  for i = 1, sizes.ndim do
    local own = i > extra and shape[i - extra] or 1
    if own ~= tonumber(sizes.size[i - 1]) or i <= extra then
      axes = axes or {}
      axes[#axes + 1] = i
    end
  end
  if not axes then return grad end
  return grad:sum(axes, true):reshape(shape)
end

--- Adds a gradient to an edge, in the edge's shape and dtype.
function tape.deposit(edge, grad)
  if grad.dtype ~= edge.dtype then grad = grad:to(edge.dtype) end
  grad = unbroadcast(grad, edge.shape)
  edge.grad = edge.grad and edge.grad + grad or grad
end

--- A tensor of this dtype to write an edge's gradient into before it is deposited, where that saves a copy;
-- nil: a new one does as well.
function tape.place(edge, dtype)
  return edge and edge.place and not edge.grad and edge.dtype == dtype and edge.place() or nil
end

--- Moves what arrived at a leaf into its .grad, which belongs to the leaf alone.
local function settle(edge)
  local leaf, grad = edge.leaf, edge.grad
  edge.grad = nil
  if leaf.grad then leaf.grad:add_(grad) else leaf.grad = grad:clone() end
end

local function by_sequence(a, b) return a.sequence > b.sequence end

--- All nodes below the given edges, newest first, and the leaves they end in.
local function collect(roots)
  local nodes, leaves, seen, stack = {}, {}, {}, {}
  for _, edge in ipairs(roots) do stack[#stack + 1] = edge end
  while #stack > 0 do
    local edge = table.remove(stack)
    local target = edge.node or edge
    if not seen[target] then
      seen[target] = true
      if edge.leaf then leaves[#leaves + 1] = edge end
      if edge.node then
        nodes[#nodes + 1] = edge.node
        for _, input in ipairs(edge.node.inputs) do
          if input then stack[#stack + 1] = input end
        end
      end
    end
  end
  table.sort(nodes, by_sequence)
  return nodes, leaves
end

--- One node: from the gradients of its results to those of its arguments.
local function run(node, keep)
  if node.spent then
    check.fail("backward: %s was already walked back; pass {retain_graph = true} before", node.name)
  end
  check_saved(node)
  local arrived = node.collective or false
  for _, edge in pairs(node.outputs) do arrived = arrived or edge.grad ~= nil end
  if arrived then node.rule(node) end
  for _, edge in pairs(node.outputs) do edge.grad = nil end
  if keep then return end
  for key in pairs(node) do
    if type(key) == "number" then node[key] = nil end
  end
  node.out, node.saved, node.context, node.spent = nil, nil, nil, true
end

--- After an error: nothing half-summed may be left for the next walk.
local function forget(nodes, leaves)
  for _, node in ipairs(nodes) do
    for _, edge in pairs(node.outputs) do edge.grad = nil end
  end
  for _, edge in ipairs(leaves) do edge.grad = nil end
end

local function walk(edges, gradients, nodes, leaves, keep)
  for i, edge in ipairs(edges) do tape.deposit(edge, gradients[i]) end
  for _, node in ipairs(nodes) do run(node, keep) end
  for _, edge in ipairs(leaves) do
    if edge.grad then settle(edge) end
  end
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
  local same = #grad.shape == #t.shape
  for i, size in ipairs(t.shape) do same = same and grad.shape[i] == size end
  if not same then
    check.fail("backward: the gradient is %s, the tensor %s", grad:describe(), t:describe())
  end
  return grad
end

--- Walks back from several tensors at once; `grads[i]` (nil: 1 for a scalar) starts at roots[i].
function tape.backward(roots, grads, options)
  options = check.options("backward", options or {}, { "retain_graph" })
  local edges, gradients = {}, {}
  check.kind("backward", "what to start from", roots, "table")
  for i, t in ipairs(roots) do
    gradients[i], edges[i] = root_gradient(t, grads and grads[i]), t.edge
  end
  local nodes, leaves = collect(edges)
  local ok, message = pcall(tape.no_grad, walk, edges, gradients, nodes, leaves, options.retain_graph)
  if ok then return end
  forget(nodes, leaves)
  error(message, 0)
end

--- From this tensor back to every leaf; `grad` starts it (default 1 for a scalar).
-- options.retain_graph keeps the tape for a second walk.
function Tensor:backward(grad, options)
  tape.backward({ self }, { grad }, options)
  return self
end

--- Marks a leaf: its `.grad` will be filled by backward.
function Tensor:requires_grad_(on)
  if self.edge and self.edge.node then
    check.fail("requires_grad_: %s is a result, not a leaf", self:describe())
  end
  on = on ~= false
  if on and not self.dtype:match "f" then
    check.fail("requires_grad_: %s is not a float tensor", self:describe())
  end
  self.requires_grad = on
  self.edge = self.requires_grad and new_edge(self) or false
  if self.edge then self.edge.leaf = self end
  return self
end

--- The same values, cut off the tape.
function Tensor:detach()
  local c = Tensor.blank()
  check.call("mosaic_alias", c, self.c)
  return Tensor.wrap(c)
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
