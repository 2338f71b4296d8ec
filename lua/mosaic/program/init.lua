--- Functions of the user's in masks, traced once into programs that kernels run without calling back.
--
--   mask = { score = function(s, b, h, i, j) return s - slope[h] * (i - j) end,
--            keep = function(b, h, i, j) return j <= i end }
--
-- s is the score (scale q.k and bias), b, h, i, j number the batch entry, head, query and key from 1,
-- globally. score returns the new score (-math.huge hides the key), keep whether the key is seen.
-- The function is called with symbols, once for each way through its comparisons, so it may use
--   + - * / % ^, comparisons, and, or, not, if, loops whose ends do not depend on its arguments;
--   math.abs floor ceil sqrt exp log tanh sin cos min max pow, and the methods (i - j):abs()
--   :min(x) :max(x) :clamp(low, high) :sigmoid() and so on;
--   lists[h], lists of lists[h][i], sets of numbers, mosaic.lookup(tensor, h, i);
--   functions and values that it captures, as they are when attention is called.
-- A lookup outside of its list, at a key that is seen, is an error where it is computed: with sharded rows
-- on that rank alone, so lists must be long enough for the positions of all ranks.
-- It is called again with numbers, to see that both agree. A program made ahead by program.score or
-- program.keep may be given instead of the function, and saves tracing at each call.
local captured = require "mosaic.program.captured"
local check = require "mosaic.check"
local derive = require "mosaic.program.derive"
local Graph = require "mosaic.program.graph"
local lookups = require "mosaic.program.lookup"
local paths = require "mosaic.program.paths"
local Program = require "mosaic.program.class"
local sample = require "mosaic.program.sample"
local symbol = require "mosaic.program.symbol"

local program = { is = Program.is }

--- Symbols of the arguments that a function gets.
local function arguments(graph, names)
  local list = {}
  for i, name in ipairs(names) do list[i] = symbol.wrap(graph:argument(name)) end
  return unpack(list)
end

--- A failure of Lua itself in the user's function says what would have worked.
local function explain(where, message)
  if tostring(message):find("got cdata", 1, true) then
    message = ("%s (%s: a symbol is no number: use math.abs, floor, ..., min, max or methods x:abs() ...)")
      :format(message, where)
  end
  error(message, 0)
end

--- Calls f on symbols along all paths; read(value) -> the node of what it returned.
local function trace(where, f, names, read)
  local graph = Graph()
  local ok, result, valid = pcall(captured, where, f, function()
    return paths.explore(where, graph, function()
      return read(f(arguments(graph, names)))
    end)
  end)
  if not ok then explain(where, result) end
  sample(where, graph, f, result, valid, names[1] == "score")
  return graph, result, valid
end

local function show(value) return symbol.is(value) and "a symbol" or check.show(value) end

--- The program of a function f(s, b, h, i, j) -> score.
function program.score(f, where)
  where = where or "mosaic.program.score"
  check.kind(where, "the first argument", f, "function")
  local graph, result, valid = trace(where, f, { "score", "batch", "head", "query", "key" }, function(value)
    if type(value) == "number" or symbol.is(value) then return symbol.node(value, "return") end
    check.fail("%s must return a number, got %s", where, show(value))
  end)
  return Program(where, "score", graph, result, valid, derive(graph, result, graph:argument "score"))
end

--- The program of a function f(b, h, i, j) -> true where the key is seen.
function program.keep(f, where)
  where = where or "mosaic.program.keep"
  check.kind(where, "the first argument", f, "function")
  local graph, result, valid = trace(where, f, { "batch", "head", "query", "key" }, function(value)
    if type(value) == "boolean" then return symbol.node(value and 1 or 0, "return") end
    check.fail("%s must return true or false, got %s", where, show(value))
  end)
  return Program(where, "keep", graph, result, valid)
end

--- Element of a tensor or (nested) list by indices that may be symbols, one per axis.
function program.lookup(source, ...)
  check.kind("lookup", "the tensor or list", source, "table")
  local symbols = false
  for i = 1, select("#", ...) do symbols = symbols or symbol.is((select(i, ...))) end
  if symbols then return lookups.element(source, { ... }) end
  if source.get then return source:get(...) end
  for i = 1, select("#", ...) do source = source[select(i, ...)] end
  return source
end

return program
