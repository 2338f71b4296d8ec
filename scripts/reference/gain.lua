--- The q that a reference with a `gain` was computed from, in f64.
--
-- Such a q is gain x z with z in f32; what the file holds is that product rounded to f32, which moves
-- large scores by more than the bounds allow. This undoes the rounding: z is the f32 whose product
-- rounds to the stored value. Where two neighbours do (for one element in ten), the row's lse decides.
local ffi = require "ffi"
local mosaic = require "mosaic"

local bits = ffi.new "union { float f; int32_t i; }"

local function round(x)
  bits.f = x
  return tonumber(bits.f)
end

--- The f32 that many steps away from the f32 z.
local function neighbour(z, steps)
  bits.f = z
  bits.i = bits.i + steps
  return tonumber(bits.f)
end

--- All gain x z, z in f32, that round to q.
local function candidates(q, gain)
  local list, nearest = {}, round(q / gain)
  for steps = -1, 1 do
    local product = gain * neighbour(nearest, steps)
    if round(product) == q then list[#list + 1] = product end
  end
  return #list > 0 and list or { q }
end

local LIMIT = 4096 -- combinations that are tried for one row

--- Calls visit(row) for every combination of the candidates, written into row.
local function combine(row, choices, at, visit)
  if at > #choices then return visit(row) end
  for _, value in ipairs(choices[at]) do
    row[at] = value
    combine(row, choices, at + 1, visit)
  end
end

--- lse of the query `row` (a list), number i of head h, over the keys at k[at_k + 1 ...].
local function lse_of(row, problem, h, i, at_k)
  local scores, largest = {}, -math.huge
  for j = 0, problem.nk - 1 do
    if problem.kind.sees(i, j) then
      local s = 0
      for c = 1, #row do s = s + row[c] * problem.k[at_k + j * #row + c] end
      s = s / math.sqrt(#row) + (problem.kind.bias and problem.kind.bias(h, i, j) or 0)
      scores[#scores + 1], largest = s, math.max(largest, s)
    end
  end
  local sum = 0
  for _, s in ipairs(scores) do sum = sum + math.exp(s - largest) end
  return largest + math.log(sum)
end

--- The combination whose lse comes nearest to the reference's.
local function best_row(choices, expected, lse)
  local best, nearest, count = nil, math.huge, 1
  for _, list in ipairs(choices) do count = count * #list end
  if count > LIMIT then error("gain: too many ways to undo the rounding of q", 0) end
  combine({}, choices, 1, function(row)
    local distance = count > 1 and math.abs(lse(row) - expected) or 0
    if distance < nearest or not best then best, nearest = { unpack(row) }, distance end
  end)
  return best
end

return function(case, kind)
  local q, k, gain = case.get "q", case.get "k", case.parameters.gain
  local B, heads, nq, d = unpack(q.shape)
  local group, nk = heads / k:size(2), k:size(3)
  local stored, lse, values = q:flat(), case.get("lse"):flat(), {}
  local problem = { k = k:flat(), nk = nk, kind = kind }
  for row = 0, B * heads * nq - 1 do
    local head = math.floor(row / nq)
    local h, i, choices = head % heads, row % nq, {}
    for c = 1, d do choices[c] = candidates(stored[row * d + c], gain) end
    local at_k = math.floor(head / group) * nk * d
    local best = best_row(choices, lse[row + 1], function(x) return lse_of(x, problem, h, i, at_k) end)
    for c = 1, d do values[row * d + c] = best[c] end
  end
  return mosaic.tensor(values, { dtype = "f64" }):view(q.shape)
end
