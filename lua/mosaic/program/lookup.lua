--- Tables of numbers that a user's function reads by a symbol: lists, lists of lists, sets, tensors.
local check = require "mosaic.check"
local create = require "mosaic.tensor.create"
local state = require "mosaic.state"
local symbol = require "mosaic.program.symbol"
local Tensor = require "mosaic.tensor"

local lookup = {}

local MOST_MEMBERS = 2 ^ 24 -- the largest member of a set

local function fail(format, ...)
  check.fail("%s " .. format, symbol.trace.where, ...)
end

--- { values = flat f64 tensor, shape } of a tensor or a (nested) list of numbers. Values are the host's:
-- Lua and range look at them; kernels get copies on their device (Program:on).
local function read(source)
  if not Tensor.is(source) then source = create.tensor(source, { dtype = "f64", device = "cpu" }) end
  if source.requires_grad and state.current.recording then
    fail("looks up a tensor that requires a gradient (%s), which would be lost: detach it, or use mask.bias",
      source:describe())
  end
  if source:numel() == 0 then fail("looks up an empty table (%s)", source:describe()) end
  return { values = source:to { dtype = "f64", device = "cpu" }:contiguous():view(-1), shape = source.shape }
end

--- The symbol of an element, given one index per axis. An index outside of the table is an error of
-- the attention call for which the element counts.
function lookup.element(source, indices)
  local trace = symbol.trace
  local graph = trace.graph
  local number, known = graph:table(source, function() return read(source) end)
  if #indices ~= #known.shape then
    fail("looks up a table of %d dims with %d indices", #known.shape, #indices)
  end
  local flat = graph:constant(0)
  for axis, index in ipairs(indices) do
    local node, size = symbol.node(index, "index by"), graph:constant(known.shape[axis])
    trace.expect(graph:node("within", node, size))
    flat = axis == 1 and node
      or graph:node("add", graph:node("mul", graph:node("sub", flat, graph:constant(1)), size), node)
  end
  return symbol.wrap(graph:lookup(number, flat))
end

--- A row of a nested list: waits for the remaining indices.
local function row(source, depth, indices)
  if depth == #indices then return lookup.element(source, indices) end
  return setmetatable({}, {
    __index = function(_, index)
      local more = { unpack(indices) }
      more[#more + 1] = index
      return row(source, depth, more)
    end,
  })
end

local function depth_of(list)
  local depth = 0
  while type(list) == "table" do list, depth = list[1], depth + 1 end
  return depth
end

--- A set's members { [3] = true, ... } or a list of booleans as 0 and 1 up to the largest key.
local function members(set)
  local largest, explicit = 0, false
  for key, value in next, set do
    if type(key) ~= "number" or key % 1 ~= 0 or key < 1 or key > MOST_MEMBERS or type(value) ~= "boolean" then
      fail("looks up %s = %s by a symbol: a table must hold only numbers 1, 2, ... or only booleans",
        check.show(key), check.show(value))
    end
    largest, explicit = math.max(largest, key), explicit or not value
  end
  local list = {}
  for i = 1, largest do list[i] = set[i] and 1 or 0 end
  return list, explicit
end

--- set[index] as Lua would answer: true, or false or nil.
local function member(set, index)
  local trace = symbol.trace
  local lists = trace.graph.sets or {}
  trace.graph.sets = lists
  if not lists[set] then lists[set] = { members(set) } end
  local list, explicit = unpack(lists[set])
  if #list == 0 then return nil end
  local graph, node = trace.graph, symbol.node(index, "index by")
  if not trace.decide(graph:node("within", node, graph:constant(#list))) then return nil end
  local number = graph:table(list, function() return read(list) end)
  if trace.decide(graph:node("eq", graph:lookup(number, node), graph:constant(1))) then return true end
  if explicit then return false end
  return nil
end

--- What list[index] is for a symbol.
function lookup.index(list, index)
  local first = rawget(list, 1)
  if type(first) == "number" then return lookup.element(list, { index }) end
  if type(first) == "table" then return row(list, depth_of(list), { index }) end
  return member(list, index)
end

return lookup
