--- Plain numbers that remember where they came from, for truths whose derivative nobody wants to write:
--
--   local new = scalar.tape()            or scalar.tape("f32"): every operation rounds once
--   local x, y = new(3), new(4)
--   local z = x * y + scalar.exp(x)
--   scalar.backward { { z, 1 } }         x.grad == 4 + exp(3)
--
-- Shares no code with the library.
local ffi = require "ffi"

local scalar = {}
local Scalar = {}
Scalar.__index = Scalar

local cell = ffi.new "float[1]"

local rounding = {
  f64 = function(x) return x end,
  f32 = function(x)
    cell[0] = x
    return cell[0]
  end,
}

--- A node: its value, and up to two parents with the derivative for each.
local function node(tape, value, a, da, b, db)
  local self = { tape = tape, value = tape.round(value), a = a, da = da, b = b, db = db, grad = 0 }
  tape[#tape + 1] = self
  return setmetatable(self, Scalar)
end

--- Makes numbers of a new tape.
function scalar.tape(dtype)
  local tape = { round = rounding[dtype or "f64"] }
  return function(value) return node(tape, value) end
end

local function both(a, b)
  local tape = type(a) == "table" and a.tape or b.tape
  return tape, type(a) == "table" and a or node(tape, a), type(b) == "table" and b or node(tape, b)
end

function Scalar.__add(x, y)
  local tape, a, b = both(x, y)
  return node(tape, a.value + b.value, a, 1, b, 1)
end

function Scalar.__sub(x, y)
  local tape, a, b = both(x, y)
  return node(tape, a.value - b.value, a, 1, b, -1)
end

function Scalar.__mul(x, y)
  local tape, a, b = both(x, y)
  return node(tape, a.value * b.value, a, b.value, b, a.value)
end

function Scalar.__div(x, y)
  local tape, a, b = both(x, y)
  return node(tape, a.value / b.value, a, 1 / b.value, b, -a.value / b.value ^ 2)
end

function scalar.exp(x)
  return node(x.tape, math.exp(x.value), x, math.exp(x.value))
end

--- elu(x) + 1
function scalar.elu_plus_one(x)
  if x.value >= 0 then return x + 1 end
  return scalar.exp(x)
end

function scalar.sigmoid(x)
  return 1 / (1 + scalar.exp(x * -1))
end

--- From results with the gradients that start at them, { { number, gradient }, ... }, to everything that
-- they came from.
function scalar.backward(starts)
  if #starts == 0 then return end
  local tape = starts[1][1].tape
  for _, start in ipairs(starts) do start[1].grad = start[1].grad + start[2] end
  for i = #tape, 1, -1 do
    local n = tape[i]
    if n.a then n.a.grad = tape.round(n.a.grad + tape.round(n.grad * n.da)) end
    if n.b then n.b.grad = tape.round(n.b.grad + tape.round(n.grad * n.db)) end
  end
end

return scalar
