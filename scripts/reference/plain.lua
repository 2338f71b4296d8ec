--- Attention as anybody would write it, in f32: the yardstick for the errors of the real one.
-- Every operation rounds to f32; sums run in the order of the keys or channels.
local ffi = require "ffi"

local floats = ffi.typeof "float[?]"
local cell = ffi.new "float[1]"

--- The nearest f32.
local function round(x)
  cell[0] = x
  return cell[0]
end

--- A tensor's values in a float array.
local function load(t)
  local values = t:flat()
  return floats(#values, values)
end

--- sum over c of a[at_a + c] b[at_b + c]
local function dot(a, at_a, b, at_b, d)
  local sum = 0
  for c = 0, d - 1 do sum = round(sum + round(a[at_a + c] * b[at_b + c])) end
  return sum
end

--- to[at_to + c] += factor from[at_from + c]
local function accumulate(to, at_to, factor, from, at_from, d)
  for c = 0, d - 1 do to[at_to + c] = to[at_to + c] + round(factor * from[at_from + c]) end
end

--- Scores of one query; returns their largest (-inf when the query sees nothing).
local function score(r, at, row)
  local largest = -math.huge
  for j = 0, r.nk - 1 do
    row[j] = -math.huge
    if r.sees(at.i, j) then
      local s = round(dot(r.q, at.q, r.k, at.k + j * r.d, r.d) * r.scale)
      row[j] = r.bias and s + round(r.bias(at.h, at.i, j)) or s
      largest = math.max(largest, row[j])
    end
  end
  return largest
end

--- out and lse of one query, leaving its weights in row; false when it sees nothing.
local function attend(r, at, row)
  local largest, sum = score(r, at, row), 0
  r.lse[at.row] = largest
  if largest == -math.huge then return false end
  for j = 0, r.nk - 1 do
    row[j] = math.exp(round(row[j] - largest))
    sum = round(sum + row[j])
  end
  for j = 0, r.nk - 1 do
    row[j] = row[j] / sum
    accumulate(r.out, at.q, row[j], r.v, at.k + j * r.d, r.d)
  end
  r.lse[at.row] = largest + round(math.log(sum))
  return true
end

--- Gradients of one query, given its weights in row.
local function attend_backward(r, at, row)
  local delta = dot(r.dout, at.q, r.out, at.q, r.d)
  for j = 0, r.nk - 1 do
    local key = at.k + j * r.d
    accumulate(r.dv, key, row[j], r.dout, at.q, r.d)
    local dp = dot(r.dout, at.q, r.v, key, r.d)
    local ds = round(round(row[j] * round(dp - delta)) * r.scale)
    accumulate(r.dq, at.q, ds, r.k, key, r.d)
    accumulate(r.dk, key, ds, r.q, at.q, r.d)
  end
end

--- case: q (B,Hq,Nq,D), k, v (B,Hkv,Nk,D), dout, with { sees, bias }; float arrays out, lse, dq, dk, dv.
return function(q, k, v, dout, kind)
  local B, heads, nq, d = unpack(q.shape)
  local kv_heads, nk = k:size(2), k:size(3)
  local r = { q = load(q), k = load(k), v = load(v), dout = load(dout), nk = nk, d = d,
    scale = round(1 / math.sqrt(d)), sees = kind.sees, bias = kind.bias,
    out = floats(q:numel()), lse = floats(B * heads * nq),
    dq = floats(q:numel()), dk = floats(k:numel()), dv = floats(k:numel()) }
  for b = 0, B - 1 do
    for h = 0, heads - 1 do
      local kv = math.floor(h / (heads / kv_heads))
      for i = 0, nq - 1 do
        local at = { h = h, i = i, row = (b * heads + h) * nq + i }
        at.q, at.k = at.row * d, (b * kv_heads + kv) * nk * d
        local row = floats(nk)
        if attend(r, at, row) then attend_backward(r, at, row) end
      end
    end
  end
  return r
end
