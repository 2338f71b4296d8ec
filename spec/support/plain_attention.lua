--- Attention in f32 as one would write it down: every operation rounded once, nothing tiled. Its error
-- against the truth is the measure for the kernels' (house rule 10).
--
--   plain.attention(q, k, v, dout, options) -> { out, lse, dq, dk, dv }   flat lists
local ffi = require "ffi"
local dense = require "spec.support.dense"

local plain = {}
local floats = ffi.typeof "float[?]"
local cell = floats(1)

local function f32(x)
  cell[0] = x
  return cell[0]
end

local function copy(list)
  local a = floats(#list)
  for i = 1, #list do a[i - 1] = list[i] end
  return a
end

local function list_of(a, count)
  local list = {}
  for i = 1, count do list[i] = a[i - 1] end
  return list
end

local function dot(a, a_at, b, b_at, d)
  local sum = 0
  for c = 0, d - 1 do sum = f32(sum + f32(a[a_at + c] * b[b_at + c])) end
  return sum
end

--- p (nk) of one query from its scores (false: not seen), and lse.
local function softmax(scores, nk)
  local top, sum, p = -math.huge, 0, {}
  for j = 1, nk do top = scores[j] and math.max(top, scores[j]) or top end
  if top == -math.huge then return p, top end
  for j = 1, nk do
    if scores[j] then
      p[j] = f32(math.exp(f32(scores[j] - top)))
      sum = f32(sum + p[j])
    end
  end
  for j = 1, nk do p[j] = p[j] and f32(p[j] / sum) end
  return p, f32(top + f32(math.log(sum)))
end

--- to += factor * from
local function add(to, to_at, from, from_at, factor, d)
  for c = 0, d - 1 do to[to_at + c] = to[to_at + c] + f32(factor * from[from_at + c]) end
end

--- Each weight times what dropout makes of it.
local function dropped(p, kept)
  local left = {}
  for j, weight in pairs(p) do left[j] = f32(weight * kept[j]) end
  return left
end

local function backward(x, g, p, left, query, row, keys)
  local at, delta = row * x.d, 0
  for c = 0, x.d - 1 do delta = f32(delta + f32(x.dout[at + c] * g.out[at + c])) end
  for j, weight in pairs(p) do
    local key = (keys + j - 1) * x.d
    local dp = f32(dot(x.dout, at, x.v, key, x.d) * query.kept[j])
    local ds = f32(weight * f32(dp - delta))
    ds = f32(f32(ds * query.slope[j]) * x.scale)
    add(g.dq, at, x.k, key, ds, x.d)
    add(g.dk, key, x.q, at, ds, x.d)
    add(g.dv, key, x.dout, at, left[j], x.d)
  end
end

function plain.attention(q, k, v, dout, options)
  local d, nk = q:size(-1), k:size(-2)
  local x = { q = copy(q:flat()), k = copy(k:flat()), v = copy(v:flat()), dout = copy(dout:flat()), d = d,
    scale = f32(options and options.scale or 1 / math.sqrt(d)) }
  local g = {
    out = floats(q:numel()), dq = floats(q:numel()), dk = floats(k:numel()), dv = floats(v:numel()),
  }
  local lse = {}
  dense.each_score(q, k, options or {}, function(row, keys, added, query)
    local scores = {}
    query.slope = {}
    for j = 1, nk do
      local product = added[j] and dot(x.q, row * d, x.k, (keys + j - 1) * d, d)
      scores[j] = product and f32(f32(product * x.scale) + f32(added[j]))
      if scores[j] then
        local new, slope = query.rescore(j, scores[j])
        scores[j], query.slope[j] = new > -math.huge and f32(new), f32(slope)
      end
    end
    local p
    p, lse[row + 1] = softmax(scores, nk)
    local left = dropped(p, query.kept)
    for j, weight in pairs(left) do add(g.out, row * d, x.v, (keys + j - 1) * d, weight, d) end
    backward(x, g, p, left, query, row, keys)
  end)
  return { out = list_of(g.out, q:numel()), lse = lse, dq = list_of(g.dq, q:numel()),
    dk = list_of(g.dk, k:numel()), dv = list_of(g.dv, v:numel()) }
end

return plain
