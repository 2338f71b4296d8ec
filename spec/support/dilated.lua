--- The closed form of dilated attention: how often a head's query and key meet, in plain Lua numbers.
--
--   dilated.times(options, heads) -> function(h, i, j)   the number of rates that select both
--   dilated.bias(options, heads, nq, nk) -> tensor (heads, nq, nk) of its logarithms (0 times: -inf)
--   dilated.strategy(options, more) -> the two as the strategy's table
--
-- options as in the strategy's table; h, i, j count from 0. Shares no code with the library.
local mosaic = require "mosaic"

local dilated = {}

function dilated.strategy(options, more)
  local list = { "dilated" }
  for name, value in pairs(options) do list[name] = value end
  for name, value in pairs(more or {}) do list[name] = value end
  return list
end

local function offset_of(options, heads, h, r)
  if options.offsets ~= "groups" then return h % r end
  return math.floor(h / math.ceil(heads / r))
end

--- The rate that a head has alone: runs of heads, the first ones longer by one.
local function own_rate(options, heads, h)
  local count = #options.rates
  local short, longer = math.floor(heads / count), heads % count
  for i = 1, count do
    h = h - short - (i <= longer and 1 or 0)
    if h < 0 then return i end
  end
end

local function selects(w, r, offset, x) return x % w % r == offset end

function dilated.times(options, heads)
  return function(h, i, j)
    local count = 0
    for n, w in ipairs(options.segments) do
      local r = options.rates[n]
      local offset = offset_of(options, heads, h, r)
      local mine = not options.heads or own_rate(options, heads, h) == n
      if mine and math.floor(i / w) == math.floor(j / w) and selects(w, r, offset, i)
        and selects(w, r, offset, j) then
        count = count + 1
      end
    end
    return count
  end
end

function dilated.bias(options, heads, nq, nk)
  local times, values = dilated.times(options, heads), {}
  for h = 0, heads - 1 do
    for i = 0, nq - 1 do
      for j = 0, nk - 1 do values[#values + 1] = math.log(times(h, i, j)) end
    end
  end
  return mosaic.tensor(values, { dtype = "f64" }):view(heads, nq, nk)
end

--- Multiply-adds' pairs (head, query, key) of n rows: the sum over rates and segments.
function dilated.pairs(options, heads, n)
  local total, times = 0, dilated.times(options, heads)
  for h = 0, heads - 1 do
    for i = 0, n - 1 do
      for j = 0, n - 1 do total = total + times(h, i, j) end
    end
  end
  return total
end

return dilated
