--- Does a traced program give what the function gives? Asked at a few places, with numbers.
--
-- What a function does with its arguments besides arithmetic cannot be seen by symbols: type(i),
-- a raw table key, random numbers, state that it keeps. Such a program would be wrong without a word.
local check = require "mosaic.check"
local ops = require "mosaic.program.ops"

local TOLERANCE = 1e-9

--- s, b, h, i, j
local PLACES = {
  { 0.75, 1, 1, 1, 1 }, { -1.5, 1, 1, 1, 2 }, { 0.75, 1, 1, 2, 1 }, { 2.25, 2, 2, 5, 3 },
  { -0.5, 1, 2, 3, 5 }, { 0.25, 2, 1, 7, 7 }, { 1.5, 1, 3, 12, 4 }, { -3, 1, 1, 4, 12 },
  { 0.5, 1, 2, 40, 9 }, { -0.25, 2, 1, 8, 41 }, { 4, 1, 1, 100, 99 }, { 30, 1, 1, 99, 100 },
  { -20, 1, 2, 130, 3 }, { 0.125, 3, 4, 1000, 517 },
}

local ARGUMENTS = { "score", "batch", "head", "query", "key" }

--- The value of a node where `known` has those of the arguments by their ids; nil where it is not defined.
-- (By ids: LuaJIT 2.1.0-beta3 loses stores to keys that are tables when such a loop gets compiled.)
local function evaluate(graph, node, known)
  local value = known[node.id]
  if value ~= nil then return value end
  if node.op == "constant" then return node.value end
  local a = evaluate(graph, node.a, known)
  local b = node.b and evaluate(graph, node.b, known)
  local c = node.c and evaluate(graph, node.c, known)
  if node.op == "lookup" then
    local values = graph.tables[node.value].values
    local count = values:numel()
    value = values:get(a >= 1 and a <= count and math.floor(a) or 1)
  else
    value = ops.all[node.op][2](a, b, c)
  end
  known[node.id] = value
  return value
end

local function same(a, b)
  return a == b or (a ~= a and b ~= b) or math.abs(a - b) <= TOLERANCE * math.max(1, math.abs(a), math.abs(b))
end

local function as_number(value)
  if value == true then return 1 end
  return value and value or 0
end

local function fail(where, place, got, traced)
  check.fail("%s cannot be traced: for b, h, i, j = %d, %d, %d, %d it returns %s, with symbols %s; it may "
    .. "use its arguments in arithmetic, comparisons, math functions and as keys of lists only", where,
    place[2], place[3], place[4], place[5], check.show(got), check.show(traced))
end

--- Fails where f(place) is not what the graph says. Places where a lookup leaves its table, or where
-- f cannot compute with plain numbers (methods of symbols), are passed over.
return function(where, graph, f, result, valid, has_score)
  for _, place in ipairs(PLACES) do
    local known = {}
    for i, name in ipairs(ARGUMENTS) do known[graph:argument(name).id] = place[i] end
    if evaluate(graph, valid, known) ~= 0 then
      local ok, got = pcall(f, unpack(place, has_score and 1 or 2))
      local traced = evaluate(graph, result, known)
      if ok and not same(as_number(got), traced) then
        fail(where, place, got, has_score and traced or traced ~= 0)
      end
    end
  end
end
