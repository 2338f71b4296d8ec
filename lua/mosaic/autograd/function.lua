--- Operations with a hand-written derivative: what loops, sends, or saves more than a row can say.
--
--   local double = Function("double", {
--     forward = function(ctx, x) return x * 2 end,
--     backward = function(ctx, g) return g * 2 end,
--   })
--   local y = double(x)
--
-- forward(ctx, ...) runs unrecorded and returns one or more tensors. ctx:save("name", tensor) keeps
-- a tensor as ctx.name for backward and refuses backward if it was changed meanwhile; ctx:keep("name",
-- tensor) is for one that nobody else has; anything else is stored in ctx directly. ctx.needs[i] tells
-- whether argument i wants a gradient.
-- backward(ctx, g1, g2, ...) gets the gradient of each result (nil where none arrived) and returns
-- one gradient per argument (nil: none).
-- `adds = i`: where argument i has a gradient already, it is ctx.arrived, and what backward returns for i is
-- that sum with its own share added (nil: it has none). Others may have ctx.arrived: it must not be written.
-- `pure = true`: backward keeps none of the gradients that it gets, and returns tensors that nobody else has,
-- each once: the tape frees them when they have been read. `fresh = true`: and nobody else has their numbers,
-- as a view would: more is added to them in place.
-- `collective = true`: every rank must take part in backward, so the call is recorded whenever the
-- tape runs, whether or not this rank's arguments want a gradient.
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local state = require "mosaic.state"
local edges = require "mosaic.autograd.edge"
local tape = require "mosaic.autograd.tape"
local Tensor = require "mosaic.tensor"

local Context = {}
Context.__index = Context

function Context:save(name, tensor)
  if tensor then tape.save(self.node, name, tensor) end
  self[name] = tensor
end

--- The same of tensors that nobody else has: they are freed when backward is over.
function Context:keep(name, tensor)
  local kept = self.node.kept or {}
  self.node.kept, self[name] = kept, tensor
  kept[#kept + 1] = tensor
end

local function edges_of(...)
  local list, any = {}, false
  for i = 1, select("#", ...) do
    local value = select(i, ...)
    list[i] = Tensor.is(value) and value.edge or false
    any = any or list[i]
  end
  return list, any
end

--- The gradients of a node's results, nil where none arrived, and how many results there are.
local function gradients_of(node)
  local outputs = node.outputs
  if not outputs then return { node.grad or nil }, 1 end
  local gradients = {}
  for i = 1, #outputs do gradients[i] = outputs[i].grad or nil end
  return gradients, #outputs
end

--- Fails where a Function that is pure returns what it got, or one tensor twice: it would be freed too early.
local function check_pure(name, got, count, gradients, wanted)
  local seen = {}
  for i = 1, count do
    if got[i] then seen[got[i]] = true end
  end
  for i = 1, wanted do
    local gradient = gradients[i]
    if gradient and seen[gradient] then
      check.fail("%s: backward is pure, but gradient %d is one that it got or returns twice", name, i)
    end
    if gradient then seen[gradient] = true end
  end
end

--- Puts what backward returned for the argument that it adds to in the place of what had arrived there.
local function put_sum(name, edge, sum, writes, pure)
  local arrived = edge.grad
  if C.mosaic_tensor_writes(arrived.c) ~= writes then
    check.fail("%s: backward has written to ctx.arrived, which others may have", name)
  elseif sum and sum ~= arrived and pure then
    edges.replace(edge, sum)
  elseif sum and sum ~= arrived then
    edge.grad, edge.own = sum, false
  end
end

--- What is added to goes first: where an argument is given twice, the other's share comes on top.
local function rule_of(name, definition)
  local adds, pure = definition.adds, definition.pure
  local own = pure and (definition.fresh and "numbers" or "tensor")
  return function(node)
    local got, count = gradients_of(node)
    local context, inputs = node.context, node.inputs
    local target = adds and inputs[adds] and inputs[adds].grad and inputs[adds]
    local arrived = target and target.grad or nil
    local writes = arrived and C.mosaic_tensor_writes(arrived.c)
    if adds then context.arrived = arrived end
    local gradients = { definition.backward(context, unpack(got, 1, count)) }
    if pure then check_pure(name, got, count, gradients, #inputs) end
    if target then
      put_sum(name, target, gradients[adds], writes, pure)
      gradients[adds] = nil
    end
    for i, edge in ipairs(inputs) do
      if edge and gradients[i] then edges.deposit(edge, gradients[i], own) end
    end
  end
end

local function contains(t, first, ...)
  if first == t then return true end
  return select("#", ...) > 0 and contains(t, ...)
end

--- Makes each result part of the graph; a result that is an argument itself becomes a new view.
local function attach(node, results, ...)
  for i, t in ipairs(results) do
    if t.edge or contains(t, ...) then results[i] = t:detach() end
  end
  if #results == 1 then tape.attach(node, results[1]) else tape.attach_list(node, results) end
end

return function(name, definition)
  check.kind("Function", "the name", name, "string")
  check.options("Function", definition, { "forward", "backward", "collective", "adds", "pure", "fresh" })
  check.callable("Function", "forward", definition.forward)
  check.callable("Function", "backward", definition.backward)
  local rule = rule_of(name, definition)
  return function(...)
    local wanted, any = edges_of(...)
    local recorded = state.current.recording and (any or definition.collective)
    local node = tape.new_node(name, rule, wanted, definition.pure)
    local context = setmetatable({ node = node, needs = {} }, Context)
    for i, edge in ipairs(wanted) do context.needs[i] = recorded and edge ~= false end
    local results = { tape.no_grad(definition.forward, context, ...) }
    if not recorded then
      tape.drop(node)
      return unpack(results)
    end
    node.context, node.collective = context, definition.collective or false
    attach(node, results, ...)
    return unpack(results)
  end
end
