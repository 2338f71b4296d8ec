--- Gives tensor methods their derivatives, from the table in gradients.lua.
--
-- A row is { save = {...}, d1, d2, ... }: di(g, n) is the gradient of argument i, where g is the
-- gradient of the result and n the node: n[i] is argument i, n.out the result, input.shape(n, i) the
-- shape of argument i. Tensors are kept only where `save` names them (an index, or "out"); other arguments
-- always. Broadcasting and dtypes are undone by the tape. With adds = i, di(g, n, sum) is di(g, n) + sum
-- where there is a sum already, and with writes = true it may be the sum itself, written. With fresh = true
-- nobody else has the numbers of any di, unless it is g itself.
--
-- There are many of these nodes, and on tiny tensors they are most of the time: one table each, without
-- loops or a varying number of arguments, which the compiler does not like. Its list has
--   1 to 5 the arguments, 6 to 9 the edges of the first four, 10 to 13 how often arguments 1 to 3 and the
--   result had been written, as far as they are saved.
local C = require "mosaic.ffi"
local state = require "mosaic.state"
local edges = require "mosaic.autograd.edge"
local input = require "mosaic.autograd.input"
local tape = require "mosaic.autograd.tape"
local Tensor = require "mosaic.tensor"

local getmetatable, tonumber = getmetatable, tonumber
local next_number, check_saved = tape.next_number, tape.check_saved
local kind_of, deposit, replace, clear = edges.kind_of, edges.deposit, edges.replace, edges.clear
local writable = edges.writable

local EDGE, WRITES, OUT = input.EDGE, 9, 13

local function edge_of(value)
  return getmetatable(value) == Tensor and value.edge or false
end

--- What a node keeps of an argument.
local function kept(value, saved)
  if saved or getmetatable(value) ~= Tensor then return value end
  return nil
end

local function writes_of(value, saved)
  return saved and getmetatable(value) == Tensor and tonumber(C.mosaic_tensor_writes(value.c)) or false
end

--- Makes out the result of a node with arguments a, b, ... and edges ea, eb, ...
local function record(row, out, a, b, c, d, e, ea, eb, ec, ed)
  local saves = row.saves
  local node = {
    kept(a, saves[1]), kept(b, saves[2]), kept(c, saves[3]), kept(d, false), kept(e, false),
    row[1] and ea, row[2] and eb, row[3] and ec, row[4] and ed,
    writes_of(a, saves[1]), writes_of(b, saves[2]), writes_of(c, saves[3]), writes_of(out, saves.out),
    row = row, sequence = next_number(), state = false, out = saves.out and out or false,
    kind = kind_of(out, ea), grad = false, own = false, node = false,
  }
  out.edge = node
end

--- Lets go of what a node had for backward.
local function drop(node)
  node[1], node[2], node[3], node[4], node[5], node.out = nil, nil, nil, nil, nil, false
  node[EDGE + 1], node[EDGE + 2], node[EDGE + 3], node[EDGE + 4] = false, false, false, false
end

--- Argument i waits for its gradient, and is what it was.
local function prepare(node, line, i)
  local edge, writes = node[EDGE + i], node[WRITES + i]
  if edge then line:enter(edge) end
  if writes then check_saved(node, node[i], writes) end
end

--- The gradient of argument i. A rule may hand on g itself: then it is not the node's any more.
local function differentiate(node, row, g, i)
  local edge = node[EDGE + i]
  if not edge then return end
  if row.adds == i and edge.grad then
    local arrived = row.writes and writable(edge) or edge.grad
    local sum = row[i](g, node, arrived)
    if sum ~= arrived then replace(edge, sum) end
  else
    local gradient = row[i](g, node)
    deposit(edge, gradient, gradient ~= g and (row.fresh and "numbers" or "tensor"))
    if edge.grad == g then node.own = false end
  end
end

--- From the gradient of a node's result to those of its arguments.
local function run(node, line, keep)
  local row, g = node.row, node.grad
  local more = row.arguments > 2
  prepare(node, line, 1)
  prepare(node, line, 2)
  if more then prepare(node, line, 3) end
  if more and node[EDGE + 4] then line:enter(node[EDGE + 4]) end
  if node[OUT] then check_saved(node, node.out, node[OUT]) end
  if g then
    differentiate(node, row, g, 1)
    differentiate(node, row, g, 2)
    if more then differentiate(node, row, g, 3) end
    if more then differentiate(node, row, g, 4) end
  end
  clear(node, true)
  node.state = not keep and "spent"
  if not keep then drop(node) end
end

--- The method with recording around it. An extra result (such as indices) has no gradient.
local function recorded(method, row)
  return function(a, b, c, d, e)
    local out, extra = method(a, b, c, d, e)
    if state.current.recording then
      local ea, eb, ec, ed = edge_of(a), edge_of(b), edge_of(c), edge_of(d)
      if ea or eb or ec or ed then
        if out == a then out = a:detach() end -- the method had nothing to do
        record(row, out, a, b, c, d, e, ea, eb, ec, ed)
      end
    end
    if extra ~= nil then return out, extra end
    return out
  end
end

--- A method that takes a list, also without its braces.
local function listed(method)
  return function(self, first, ...)
    if type(first) ~= "table" then first = { first, ... } end
    return (method(self, first))
  end
end

--- Replaces each method that has a row by its recorded form.
return function(gradients)
  for name, row in pairs(gradients) do
    local method = assert(Tensor[name], "gradients: no method " .. name)
    row.name, row.run, row.saves, row.arguments = name, run, {}, #row
    for _, key in ipairs(row.save or {}) do
      row.saves[key], row.arguments = true, math.max(row.arguments, tonumber(key) or 0)
    end
    Tensor[name] = recorded(method, row)
    if row.list then Tensor[name] = listed(Tensor[name]) end
  end
end
