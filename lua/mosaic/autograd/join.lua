--- cat and split: each is the other's derivative. Recorded by hand: thousands of parts are too many for
-- the arguments of a Function.
local edges = require "mosaic.autograd.edge"
local tape = require "mosaic.autograd.tape"
local Tensor = require "mosaic.tensor"
local join = require "mosaic.tensor.join"

local cat, split = join.cat, Tensor.split

--- The gradient of each part is its piece of the whole's.
local function cat_rule(node)
  local pieces = split(node.grad, node.context.sizes, node.context.axis)
  for i, edge in ipairs(node.inputs) do
    if edge then edges.deposit(edge, pieces[i], "tensor") end
  end
end

local function record_cat(out, list, axis)
  local inputs, sizes = {}, {}
  for i, part in ipairs(list) do inputs[i], sizes[i] = part.edge or false, part:size(axis) end
  local node = tape.new_node("cat", cat_rule, inputs, true)
  node.context = { sizes = sizes, axis = axis }
  tape.attach(node, out)
  return out
end

--- The gradient of what was split, not written yet, and its parts: made by whoever asks first. The parts'
-- gradients lie side by side, in the memory order of what was split, so that what made it by views gets its
-- gradient by views.
local function gradient_of(context)
  if not context.gradient then
    local whole = context.whole
    local options = { dtype = whole.dtype, device = whole.device }
    context.gradient = Tensor.empty_in_order(whole.shape, whole.order, options)
    context.parts = split(context.gradient, context.sizes, context.axis)
  end
  return context.gradient, context.parts
end

local function split_rule(node)
  local context = node.context
  local whole, parts = gradient_of(context)
  context.gradient, context.parts = nil, nil
  for i, part in ipairs(parts) do
    local gradient = node.outputs[i].grad
    if not gradient then part:fill_(0) elseif gradient ~= part then part:copy_(gradient) end
    if gradient ~= part then part:free() end
  end
  edges.deposit(node.inputs[1], whole, "tensor")
end

local function record_split(views, x, axis)
  local node, sizes = tape.new_node("split", split_rule, { x.edge }, true), {}
  for i, view in ipairs(views) do sizes[i] = view:size(axis) end
  local whole = { shape = x.shape, order = x:memory_order(), dtype = x.dtype, device = x.device }
  node.context = { sizes = sizes, axis = axis, whole = whole }
  tape.attach_list(node, views)
  local context = node.context
  for i, edge in ipairs(node.outputs) do
    edge.place = function() return (select(2, gradient_of(context)))[i] end
  end
  return views
end

local function any_edge(list)
  for _, t in ipairs(list) do
    if t.edge then return true end
  end
end

function join.cat(list, axis)
  local out = cat(list, axis)
  if not tape.recording() or not any_edge(list) then return out end
  return record_cat(out, list, axis or 1)
end

function Tensor:split(sizes, axis)
  if not self.edge or not tape.recording() then return split(self, sizes, axis) end
  return record_split(tape.no_grad(split, self, sizes, axis), self, axis or 1)
end
