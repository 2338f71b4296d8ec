--- What stands for a number while a user's function is traced: arithmetic on it builds a graph.
--
-- Symbols are FFI structs, because `==` between a Lua table and a number is false without asking
-- anybody. A comparison must give Lua true or false, so it asks the trace (paths.lua) which of the
-- two this run is to see. `symbol.trace` is the trace that is under way: { where, serial, graph,
-- decide(node) -> boolean, expect(node) }.
local ffi = require "ffi"
local check = require "mosaic.check"

local symbol = { trace = nil }

--- Made from a value, because busted, which loads this file several times, remembers types by their text.
local Symbol = ffi.typeof(ffi.new "struct { int32_t trace_, node_; }")

function symbol.is(value) return ffi.istype(Symbol, value) end

function symbol.wrap(node) return Symbol(symbol.trace.serial, node.id) end

local function show(value)
  return type(value) == "number" and "a number" or symbol.is(value) and "a symbol" or type(value)
end

--- The node of a symbol or number; fails for anything else.
function symbol.node(value, action)
  local trace = symbol.trace
  if type(value) == "number" then return trace.graph:constant(value) end
  if not symbol.is(value) then
    check.fail("%s: cannot %s %s; a list is looked up as list[h], a tensor as mosaic.lookup(tensor, h)",
      trace.where, action, show(value))
  end
  if not trace or value.trace_ ~= trace.serial then
    check.fail("a symbol was kept from an earlier trace: a function of a mask must not store its arguments")
  end
  return trace.graph.nodes[value.node_]
end

local function outside(name)
  check.fail("'%s' of a symbol that was kept from a trace: a function of a mask must not store its arguments",
    name)
end

--- f(a, b, c) -> the symbol of an operation on symbols and numbers.
local function operation(op, action)
  return function(...)
    if not symbol.trace then outside(op) end
    local nodes = {}
    for i = 1, select("#", ...) do nodes[i] = symbol.node((select(i, ...)), action) end
    return symbol.wrap(symbol.trace.graph:node(op, unpack(nodes)))
  end
end

local methods = {}
for _, name in ipairs { "abs", "floor", "ceil", "sqrt", "exp", "log", "tanh", "sin", "cos" } do
  local apply = operation(name, "take " .. name .. " of")
  methods[name] = function(a, second)
    if second ~= nil then
      check.fail("%s: %s of a symbol takes nothing else: write x:log() / math.log(base)",
        symbol.trace.where, name)
    end
    return apply(a)
  end
end

for _, name in ipairs { "min", "max" } do
  local apply = operation(name, "take the " .. name .. " with")
  methods[name] = function(a, ...)
    for i = 1, select("#", ...) do a = apply(a, (select(i, ...))) end
    return a
  end
end

function methods.clamp(a, low, high) return a:max(low):min(high) end
function methods.sigmoid(a) return 1 / (1 + (-a):exp()) end

symbol.methods = methods

local function compare(op, a, b, action)
  if not symbol.trace then outside "comparison" end
  local left, right = symbol.node(a, action), symbol.node(b, action)
  return symbol.trace.decide(symbol.trace.graph:node(op, left, right))
end

local function method_of(_, name)
  if methods[name] then return methods[name] end
  local known = {}
  for key in pairs(methods) do known[#known + 1] = key end
  table.sort(known)
  check.fail("%s: a symbol has no '%s' (known: %s)",
    symbol.trace and symbol.trace.where or "a mask's function", tostring(name), table.concat(known, ", "))
end

local negate = operation("neg", "negate")

ffi.metatype(Symbol, {
  __add = operation("add", "add"),
  __sub = operation("sub", "subtract"),
  __mul = operation("mul", "multiply"),
  __div = operation("div", "divide"),
  __mod = operation("mod", "take the remainder of"),
  __pow = operation("pow", "raise to a power"),
  __unm = function(a) return negate(a) end, -- Lua passes the operand twice
  __lt = function(a, b) return compare("lt", a, b, "compare with") end,
  __le = function(a, b) return compare("le", a, b, "compare with") end,
  __eq = function(a, b)
    local number = (type(a) == "number" or symbol.is(a)) and (type(b) == "number" or symbol.is(b))
    return number and compare("eq", a, b, "compare with") or false
  end,
  __index = method_of,
  __concat = function() check.fail("%s: a symbol is no text: it has no value yet", symbol.trace.where) end,
  __tostring = function() return "symbol" end,
})

return symbol
