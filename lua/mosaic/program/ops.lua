--- The operations of programs: how many operands each has, and what it does to numbers.
-- Conditions are numbers too, 1 and 0, as in core/cpu/kernel/program.c.
local function bool(x) return x and 1 or 0 end

local ops = {
  neg = { 1, function(a) return -a end },
  abs = { 1, math.abs },
  floor = { 1, math.floor },
  ceil = { 1, math.ceil },
  sqrt = { 1, math.sqrt },
  exp = { 1, math.exp },
  log = { 1, function(a) return math.log(a) end }, -- which would take nil for a base
  tanh = { 1, math.tanh },
  sin = { 1, math.sin },
  cos = { 1, math.cos },
  ["not"] = { 1, function(a) return bool(a == 0) end },
  add = { 2, function(a, b) return a + b end },
  sub = { 2, function(a, b) return a - b end },
  mul = { 2, function(a, b) return a * b end },
  div = { 2, function(a, b) return a / b end },
  mod = { 2, function(a, b) return a % b end },
  pow = { 2, function(a, b) return a ^ b end },
  min = { 2, function(a, b) return a < b and a or b end },
  max = { 2, function(a, b) return a > b and a or b end },
  lt = { 2, function(a, b) return bool(a < b) end },
  le = { 2, function(a, b) return bool(a <= b) end },
  eq = { 2, function(a, b) return bool(a == b) end },
  ["and"] = { 2, function(a, b) return bool(a ~= 0 and b ~= 0) end },
  ["or"] = { 2, function(a, b) return bool(a ~= 0 or b ~= 0) end },
  select = { 3, function(c, a, b) return c ~= 0 and a or b end },
  within = { 2, function(a, n) return bool(a >= 1 and a <= n and a % 1 == 0) end },
}

--- Those whose result is a condition.
local conditions = {
  ["not"] = true, lt = true, le = true, eq = true, ["and"] = true, ["or"] = true, within = true,
}

return { all = ops, conditions = conditions }
