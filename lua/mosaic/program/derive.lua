--- The derivative of an expression, as another expression of the same graph.
local rules = {}

--- Each rule: f(graph, node, da, db) -> the node's derivative, where da and db are those of its
-- operands (nil: zero). What has no rule is constant in pieces: comparisons, floor, ceil, lookups.
function rules.add(g, _, da, db) return da and db and g:node("add", da, db) or da or db end

function rules.sub(g, _, da, db)
  if not db then return da end
  return da and g:node("sub", da, db) or g:node("neg", db)
end

function rules.neg(g, _, da) return g:node("neg", da) end

function rules.mul(g, y, da, db)
  return rules.add(g, y, da and g:node("mul", da, y.b), db and g:node("mul", y.a, db))
end

function rules.div(g, y, da, db)
  return rules.sub(g, y, da and g:node("div", da, y.b), db and g:node("div", g:node("mul", y, db), y.b))
end

--- a - floor(a/b) b
function rules.mod(g, y, da, db)
  local whole = g:node("floor", g:node("div", y.a, y.b))
  return rules.sub(g, y, da, db and g:node("mul", whole, db))
end

function rules.pow(g, y, da, db)
  local one = g:constant(1)
  local by_a = da and g:node("mul", da, g:node("mul", y.b, g:node("pow", y.a, g:node("sub", y.b, one))))
  return rules.add(g, y, by_a, db and g:node("mul", db, g:node("mul", y, g:node("log", y.a))))
end

local function choose(g, condition, a, b)
  return g:node("select", condition, a or g:constant(0), b or g:constant(0))
end

--- 0 where the argument is 0.
function rules.abs(g, y, da)
  local zero = g:constant(0)
  local below = choose(g, g:node("lt", y.a, zero), g:node("neg", da))
  return choose(g, g:node("lt", zero, y.a), da, below)
end

function rules.min(g, y, da, db) return choose(g, g:node("lt", y.a, y.b), da, db) end
function rules.max(g, y, da, db) return choose(g, g:node("lt", y.b, y.a), da, db) end
function rules.exp(g, y, da) return g:node("mul", da, y) end
function rules.log(g, y, da) return g:node("div", da, y.a) end
function rules.sqrt(g, y, da) return g:node("div", da, g:node("mul", g:constant(2), y)) end
function rules.sin(g, y, da) return g:node("mul", da, g:node("cos", y.a)) end
function rules.cos(g, y, da) return g:node("neg", g:node("mul", da, g:node("sin", y.a))) end

function rules.tanh(g, y, da)
  return g:node("mul", da, g:node("sub", g:constant(1), g:node("mul", y, y)))
end

--- d node / d wrt (nodes of the graph); nil where it is zero everywhere.
local function derive(graph, node, wrt, known)
  if node == wrt then return graph:constant(1) end
  if known[node.id] ~= nil then return known[node.id] or nil end
  local result
  if node.op == "select" then
    local da, db = derive(graph, node.b, wrt, known), derive(graph, node.c, wrt, known)
    if da or db then result = choose(graph, node.a, da, db) end
  elseif rules[node.op] then
    local da = derive(graph, node.a, wrt, known)
    local db = node.b and derive(graph, node.b, wrt, known)
    if da or db then result = rules[node.op](graph, node, da, db) end
  end
  known[node.id] = result or false
  return result
end

return function(graph, node, wrt) return derive(graph, node, wrt, {}) or graph:constant(0) end
