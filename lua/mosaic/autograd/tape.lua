--- The tape: what was computed, and how a gradient flows back through it.
--
-- A tensor that takes part in a gradient has an `edge`, the place where its gradient arrives: see edge.lua.
-- A node is one recorded call. The node of one result is that result's edge, too; of several, it has
-- them in `outputs`:
--   node = { row = { name, rule, pure }, sequence, state, inputs = {edge or false, ...}, ... }
--   pure: the rule keeps nothing of the gradients that it is given
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
local edges = require "mosaic.autograd.edge"
local Tensor = require "mosaic.tensor"

local NONE = {}

local tape = {}
local sequence = 0

--- Is this call being recorded on this rank?
function tape.recording()
  return state.current.recording
end

--- Runs body(...) with recording on or off; returns its results, and restores on error. The body cannot yield
-- in a coroutine, see state.call.
function tape.with_recording(on, body, ...)
  check.callable("with_recording", "the body", body)
  return state.with("recording", on, "with_recording", body, ...)
end

function tape.no_grad(body, ...)
  check.callable("no_grad", "the body", body)
  return state.with("recording", false, "no_grad", body, ...)
end

-- ---- edges and nodes --------------------------------------------------------------------------------

local function next_number()
  sequence = sequence + 1
  return sequence
end

tape.next_number = next_number

--- A node with the next number; `inputs` are the edges of the arguments that want a gradient.
function tape.new_node(name, rule, inputs, pure)
  return {
    row = { name = name, rule = rule, pure = pure or false }, sequence = next_number(), inputs = inputs,
    state = false, kind = false, grad = false, own = false, node = false, leaf = false,
    outputs = false, saved = false, kept = false, collective = false, context = false,
  }
end

--- Makes node the producer of its only result, which becomes part of the graph.
function tape.attach(node, t)
  node.kind = edges.kind_of(t, node.inputs[1])
  t.edge = node
end

--- The same for a list of results.
function tape.attach_list(node, list)
  node.outputs = {}
  for i, t in ipairs(list) do
    t.edge = { kind = edges.kind_of(t), grad = false, own = false, node = node, leaf = false }
    node.outputs[i] = t.edge
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

-- ---- the walk ---------------------------------------------------------------------------------------

--- Has a gradient arrived at any result?
local function arrived(node)
  local outputs = node.outputs
  if node.grad or node.collective then return true end
  for i = 1, outputs and #outputs or 0 do
    if outputs[i].grad then return true end
  end
  return false
end

--- Lets go of what a node had for backward.
function tape.drop(node)
  local kept = node.kept
  for i = 1, kept and #kept or 0 do kept[i]:free() end
  node.saved, node.context, node.kept, node.inputs = false, false, false, NONE
end

--- One node with `inputs`: from the gradients of its results to those of its arguments.
local function run(node, line, keep)
  local inputs, saved = node.inputs, node.saved
  for i = 1, #inputs do
    if inputs[i] then line:enter(inputs[i]) end
  end
  for i = 1, saved and #saved or 0, 2 do tape.check_saved(node, saved[i], saved[i + 1]) end
  if arrived(node) then node.row.rule(node) end
  edges.forget(node, node.row.pure)
  node.state = not keep and "spent"
  if not keep then tape.drop(node) end
end

--- All nodes that wait, newest first, and those that they bring. A row with `run` does all by itself.
local function walk(line, keep)
  repeat
    while line.at <= line.last do
      local node = line:take()
      if node then (node.row.run or run)(node, line, keep) end
    end
  until not line:advance()
  for i = 1, line.leaf_count do edges.settle(line.leaves[i]) end
end

--- After an error: nothing half-summed may be left for the next walk.
local function forget(line)
  line:each(function(target)
    edges.forget(target)
    target.state = false
  end)
end

local function begin(line, roots, gradients)
  for i = 1, #roots do line:enter(roots[i]) end
  for i = 1, #roots do edges.deposit(roots[i], gradients[i]) end
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
  if not edges.has_shape(grad.c, t.shape) then
    check.fail("backward: the gradient is %s, the tensor %s", grad:describe(), t:describe())
  end
  return grad
end

local function start(starts, gradients, line, keep)
  begin(line, starts, gradients)
  walk(line, keep)
end

--- Walks back from several tensors at once; `grads[i]` (nil: 1 for a scalar) starts at roots[i].
function tape.backward(roots, grads, options)
  options = check.options("backward", options or {}, { "retain_graph" })
  local starts, gradients = {}, {}
  check.kind("backward", "what to start from", roots, "table")
  for i, t in ipairs(roots) do
    gradients[i], starts[i] = root_gradient(t, grads and grads[i]), t.edge
  end
  local line, keep = Line.new(starts), options.retain_graph
  heap.begin_walk()
  local ok, message = pcall(tape.no_grad, start, starts, gradients, line, keep)
  if not ok then
    forget(line)
    error(message, 0)
  end
  line:done()
  if not keep and not state.current.made then heap.end_walk() end
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
    kind = edges.kind_of(self), grad = false, own = false, node = false, leaf = self,
    state = false,
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
