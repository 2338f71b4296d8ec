--- Gives tensor methods their derivatives, from the table in gradients.lua.
--
-- A row is { save = {...}, d1, d2, ... }: di(g, n) is the gradient of argument i, where g is the
-- gradient of the result and n the node: n[i] is argument i, n.out the result, n.inputs[i].shape
-- the shape of argument i. Tensors are kept only where `save` names them (an index, or "out");
-- other arguments always. Broadcasting and dtypes are undone by the tape.
local state = require "mosaic.state"
local tape = require "mosaic.autograd.tape"
local Tensor = require "mosaic.tensor"

local getmetatable, rawget, select = getmetatable, rawget, select

--- The rule of every row: call the derivative of each argument that wants one.
local function rule_of(row)
  return function(node)
    local g, inputs = node.outputs[1].grad, node.inputs
    for i = 1, #inputs do
      if inputs[i] then tape.deposit(inputs[i], row[i](g, node)) end
    end
  end
end

local function edge_of(value)
  return getmetatable(value) == Tensor and rawget(value, "edge") or false
end

--- The edges of the arguments that have a derivative (written out: this runs for every operation).
local function edges_of(row, a, b, c, ...)
  if #row == 1 then return { edge_of(a) } end
  if #row == 2 then return { edge_of(a), row[2] and edge_of(b) } end
  local edges = { row[1] and edge_of(a), row[2] and edge_of(b), row[3] and edge_of(c) }
  for i = 4, #row do edges[i] = row[i] and edge_of((select(i - 3, ...))) end
  return edges
end

--- Keeps the arguments that are no tensors.
local function keep_options(node, b, c, ...)
  if getmetatable(b) ~= Tensor then node[2] = b end
  if getmetatable(c) ~= Tensor then node[3] = c end
  for i = 1, select("#", ...) do
    local value = select(i, ...)
    if getmetatable(value) ~= Tensor then node[i + 3] = value end
  end
end

local function record(name, row, rule, out, ...)
  local node, save = tape.new_node(name, rule, edges_of(row, ...)), row.save
  if select("#", ...) > 1 then keep_options(node, select(2, ...)) end
  for i = 1, save and #save or 0 do
    local key = save[i]
    local value = key == "out" and out or (select(key, ...))
    if getmetatable(value) == Tensor then tape.save(node, key, value) end
  end
  tape.attach(node, out)
end

--- The method with recording around it. An extra result (such as indices) has no gradient.
local function recorded(name, method, row)
  local rule = rule_of(row)
  return function(a, ...)
    local out, extra = method(a, ...)
    if state.current.recording then
      local b, c, d = ...
      if edge_of(a) or edge_of(b) or edge_of(c) or edge_of(d) then
        if out == a then out = a:detach() end -- the method had nothing to do
        record(name, row, rule, out, a, ...)
      end
    end
    if extra ~= nil then return out, extra end
    return out
  end
end

--- Replaces each method that has a row by its recorded form.
return function(gradients)
  for name, row in pairs(gradients) do
    local method = assert(Tensor[name], "gradients: no method " .. name)
    Tensor[name] = recorded(name, method, row)
  end
end
