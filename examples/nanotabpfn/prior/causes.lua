--- The causes of a table: its independent random columns, as a tensor (columns, rows).
local mosaic = require "mosaic"

local causes = {}

--- mean_j ~ N(0, 1) and sd_j = |N(0, 1) mean_j|, or 0 and 1.
local function statistics(stream, presampled)
  if not presampled then return 0, 1 end
  local mean = stream:normal()
  return mean, math.abs(stream:normal() * mean)
end

local column_of = {}

function column_of.normal(stream, rows, presampled)
  local mean, sd = statistics(stream, presampled)
  local values = {}
  for i = 1, rows do values[i] = mean + sd * stream:normal() end
  return values
end

function column_of.uniform(stream, rows)
  local values = {}
  for i = 1, rows do values[i] = stream:uniform() end
  return values
end

--- Shifted to mean 0 and, when `scale` is set, divided by the standard deviation.
local function centred(values, scale)
  local sum, squares = 0, 0
  for _, v in ipairs(values) do sum = sum + v end
  local mean = sum / #values
  for _, v in ipairs(values) do squares = squares + (v - mean) ^ 2 end
  local sd = scale and math.sqrt(squares / (#values - 1)) or 1
  for i, v in ipairs(values) do values[i] = (v - mean) / (sd > 0 and sd or 1) end
  return values
end

--- A number 1, 2, ... with chances proportional to `weights`, whose sum is `total`.
local function category(stream, weights, total)
  local u, k = stream:uniform() * total, 1
  while k < #weights and u >= weights[k] do
    u, k = u - weights[k], k + 1
  end
  return k
end

local function categories(stream, rows, weights)
  local total, values = 0, {}
  for _, w in ipairs(weights) do total = total + w end
  for i = 1, rows do values[i] = category(stream, weights, total) end
  return values
end

function column_of.multinomial(stream, rows)
  local weights = {}
  for k = 1, stream:integer(2, 20) do weights[k] = stream:uniform() end
  return centred(categories(stream, rows, weights), true)
end

--- Zipf's law k^-a, a = 2 + 2 U, with everything from 10 on counted as 10.
function column_of.zipf(stream, rows)
  local a, weights = 2 + 2 * stream:uniform(), {}
  for k = 1, 9 do weights[k] = k ^ -a end
  weights[10] = 9.5 ^ (1 - a) / (a - 1) -- the tail, as an integral
  return centred(categories(stream, rows, weights), false)
end

--- Every column of its own kind; how likely each kind is differs between tables.
local function mixed(stream, columns, rows, presampled)
  local not_normal, not_multinomial, not_zipf =
    0.66 * stream:uniform(), 0.66 * stream:uniform(), 0.66 * stream:uniform()
  local list = {}
  for j = 1, columns do
    local kind = "uniform"
    if stream:uniform() > not_normal then kind = "normal"
    elseif stream:uniform() > not_multinomial then kind = "multinomial"
    elseif stream:uniform() > not_zipf then kind = "zipf" end
    list[j] = column_of[kind](stream, rows, presampled)
  end
  return mosaic.tensor(list)
end

local function normal(stream, columns, rows, presampled)
  local x = stream:normals(columns, rows)
  if not presampled then return x end
  local mean = stream:normals(columns, 1)
  local sd = (stream:normals(columns, 1) * mean):abs()
  return x * sd + mean
end

--- sampling: "normal", "uniform" or "mixed".
function causes.draw(stream, columns, rows, sampling, presampled)
  if sampling == "mixed" then return mixed(stream, columns, rows, presampled) end
  if sampling == "uniform" then return stream:uniforms(columns, rows) end
  return normal(stream, columns, rows, presampled)
end

return causes
