--- Expressions over the arguments of a user's function: equal ones are shared, constant ones folded.
--
-- A node is { id, op, a, b, c, value }: operands are nodes; value belongs to constants, and is the
-- number of the table for lookups. Operands have smaller ids than what they are operands of.
local class = require "mosaic.class"
local ops = require "mosaic.program.ops"

local Graph = class("Graph")

function Graph:init()
  self.nodes, self.by_key, self.tables = {}, {}, {}
end

local function id_of(node) return node and node.id or 0 end

local function add(self, op, a, b, c, value)
  local key = ("%s %d %d %d %.17g"):format(op, id_of(a), id_of(b), id_of(c), value or 0)
  local node = self.by_key[key]
  if not node then
    node = { id = #self.nodes + 1, op = op, a = a, b = b, c = c, value = value }
    self.nodes[node.id], self.by_key[key] = node, node
  end
  return node
end

function Graph:constant(value) return add(self, "constant", nil, nil, nil, value) end

--- One of score, batch, head, query, key.
function Graph:argument(name) return add(self, name) end

--- Element `index` (from 1) of a table that `Graph:table` knows.
function Graph:lookup(number, index) return add(self, "lookup", index, nil, nil, number) end

--- The number of a table: a flat f64 tensor; `source` is what it was made from.
function Graph:table(source, make)
  for number, known in ipairs(self.tables) do
    if known.source == source then return number, known end
  end
  local made = make()
  made.source = source
  self.tables[#self.tables + 1] = made
  return #self.tables, made
end

local function is_constant(node, value)
  return node.op == "constant" and (value == nil or node.value == value)
end

local function is_condition(node)
  return ops.conditions[node.op] or is_constant(node, 0) or is_constant(node, 1)
end

local simpler = {}

simpler["not"] = function(_, a)
  return a.op == "not" and is_condition(a.a) and a.a or nil
end

simpler["and"] = function(self, a, b)
  if is_constant(a, 0) or is_constant(b, 0) then return self:constant(0) end
  return is_constant(a) and b or (is_constant(b) or a == b) and a or nil
end

simpler["or"] = function(self, a, b)
  if is_constant(a, 1) or is_constant(b, 1) then return self:constant(1) end
  return is_constant(a) and b or (is_constant(b) or a == b) and a or nil
end

function simpler.mul(_, a, b)
  return is_constant(a, 1) and b or is_constant(b, 1) and a or nil
end

function simpler.div(_, a, b) return is_constant(b, 1) and a or nil end

--- Powers with small whole exponents are products, as a power function would take them.
function simpler.pow(self, a, b)
  if is_constant(b, 1) then return a end
  if is_constant(b, 2) then return self:node("mul", a, a) end
end

--- A choice between conditions is a condition, which says more about whole blocks.
function simpler.select(self, c, a, b)
  if is_constant(c) then return c.value ~= 0 and a or b end
  if a == b then return a end
  if not (is_condition(a) and is_condition(b)) then return nil end
  if is_constant(a, 1) then return self:node("or", c, b) end
  if is_constant(b, 0) then return self:node("and", c, a) end
  local other = self:node("not", c)
  if is_constant(a, 0) then return self:node("and", other, b) end
  if is_constant(b, 1) then return self:node("or", other, a) end
end

--- The node of an operation on nodes.
function Graph:node(op, a, b, c)
  local constant = is_constant(a) and not (b and not is_constant(b)) and not (c and not is_constant(c))
  if constant then
    return self:constant(ops.all[op][2](a.value, b and b.value, c and c.value))
  end
  return simpler[op] and simpler[op](self, a, b, c) or add(self, op, a, b, c)
end

return Graph
