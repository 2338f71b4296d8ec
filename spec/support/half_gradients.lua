--- Gradients of attention as kernels for 16-bit operands usually make them, in plain doubles but for what
-- they round to 16 bits: dout, probabilities, and the gradients of scores. Their error is the measure for
-- tensor cores'.
--
--   half_gradients(q, k, v, dout, delta, options) -> { dq, dk, dv }   flat lists
local dense = require "spec.support.dense"

local zeros, dot = dense.zeros, dense.dot

--- x rounded to so many bits.
local function rounded(x, bits)
  local m, e = math.frexp(x)
  if x == 0 or x ~= x or m ~= m then return x end
  return math.floor(m * 2 ^ bits + 0.5) * 2 ^ (e - bits)
end

local function add(to, to_at, from, from_at, factor, d)
  for c = 1, d do to[to_at + c] = to[to_at + c] + factor * from[from_at + c] end
end

local function lse_of(scores, nk)
  local top, sum = -math.huge, 0
  for j = 1, nk do top = scores[j] and math.max(top, scores[j]) or top end
  for j = 1, nk do sum = sum + (scores[j] and math.exp(scores[j] - top) or 0) end
  return top + math.log(sum)
end

return function(q, k, v, dout, delta, options)
  local bits = q.dtype == "bf16" and 8 or 11
  local d, nk = q:size(-1), k:size(-2)
  local scale = options.scale or 1 / math.sqrt(d)
  local x = { q = q:flat(), k = k:flat(), v = v:flat(), dout = dout:flat(), delta = delta:flat() }
  local g = { dq = zeros(#x.q), dk = zeros(#x.k), dv = zeros(#x.v) }
  for i, value in ipairs(x.dout) do x.dout[i] = rounded(value, bits) end
  dense.each_score(q, k, options, function(row, keys, added, query)
    local scores, slopes = {}, {}
    for j = 1, nk do
      scores[j] = added[j] and scale * dot(x.q, row * d, x.k, (keys + j - 1) * d, d) + added[j]
      if scores[j] then scores[j], slopes[j] = query.rescore(j, scores[j]) end
    end
    local lse = lse_of(scores, nk)
    for j = 1, nk do
      if scores[j] and scores[j] > -math.huge then
        local key, p = (keys + j - 1) * d, math.exp(scores[j] - lse)
        local dp = query.kept[j] * dot(x.dout, row * d, x.v, key, d)
        local ds = rounded(p * (dp - x.delta[row + 1]) * slopes[j], bits) * scale
        add(g.dq, row * d, x.k, key, ds, d)
        add(g.dk, key, x.q, row * d, ds, d)
        add(g.dv, key, x.dout, row * d, rounded(p, bits) * query.kept[j], d)
      end
    end
  end)
  return g
end
