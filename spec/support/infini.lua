--- The truth about Infini-attention: its definition, one segment after the other, in plain Lua numbers.
--
--   infini { q = , k = , v = , beta = , dout = , segment = 4, update = "delta", dtype = "f64" }
--     -> { out, dq, dk, dv, dbeta }   flat lists
--
-- q, dout (heads, n, d), k, v (kv heads, n, d), beta (heads) are tensors; `slopes` (ALiBi) is a list. With
-- dtype "f32" every operation rounds once: what a plain implementation would lose. Shares no code with
-- the library.
local scalar = require "spec.support.scalar"

local function rows_of(new, t)
  local heads, n, d = unpack(t.shape)
  local flat, out, all = t:flat(), {}, {}
  for h = 1, heads do
    out[h] = {}
    for i = 1, n do
      out[h][i] = {}
      for c = 1, d do
        local x = new(flat[((h - 1) * n + i - 1) * d + c])
        out[h][i][c], all[#all + 1] = x, x
      end
    end
  end
  return out, all
end

local function dot(a, b)
  local sum = a[1] * b[1]
  for c = 2, #a do sum = sum + a[c] * b[c] end
  return sum
end

local function features(row)
  local f = {}
  for c, x in ipairs(row) do f[c] = scalar.elu_plus_one(x) end
  return f
end

--- Row i attends to rows first..i of its segment: d numbers.
local function attend(q, k, v, first, i, slope)
  local sum, out, scale = nil, {}, 1 / math.sqrt(#q[1])
  local top = -math.huge
  local scores = {}
  for j = first, i do
    scores[j] = dot(q[i], k[j]) * scale + slope * (j - i)
    top = math.max(top, scores[j].value)
  end
  for j = first, i do
    local p = scalar.exp(scores[j] - top)
    sum = sum and sum + p or p
    for c, x in ipairs(v[j]) do out[c] = out[c] and out[c] + p * x or p * x end
  end
  for c in ipairs(out) do out[c] = out[c] / sum end
  return out
end

--- What features f read from M (d x d) and z (d): f M / (f z).
local function read(f, memory)
  local out, weight = {}, dot(f, memory.z)
  for c = 1, #f do
    local column = {}
    for r = 1, #f do column[r] = memory.m[r][c] end
    out[c] = dot(f, column) / weight
  end
  return out
end

--- The memory (nil: empty) after the segment of rows first..last.
local function updated(memory, k, v, first, last, update)
  local d, m, z = #k[1], {}, {}
  for r = 1, d do
    m[r] = {}
    for c = 1, d do m[r][c] = memory and memory.m[r][c] or 0 end
    z[r] = memory and memory.z[r] or 0
  end
  for j = first, last do
    local f = features(k[j])
    local old = memory and update == "delta" and read(f, memory)
    for r = 1, d do
      for c = 1, d do m[r][c] = m[r][c] + f[r] * (old and v[j][c] - old[c] or v[j][c]) end
      z[r] = z[r] + f[r]
    end
  end
  return { m = m, z = z }
end

--- One head: its rows of the result.
local function head(q, k, v, gate, case, slope)
  local out, memory, n, w = {}, nil, #q, case.segment
  for first = 1, n, w do
    local last = math.min(first + w - 1, n)
    for i = first, last do
      local near, far = attend(q, k, v, first, i, slope), memory and read(features(q[i]), memory)
      for c = 1, #near do
        out[#out + 1] = far and gate * far[c] + (1 - gate) * near[c] or (1 - gate) * near[c]
      end
    end
    memory = updated(memory, k, v, first, last, case.update)
  end
  return out
end

local function gradients(all)
  local list = {}
  for i, x in ipairs(all) do list[i] = x.grad end
  return list
end

return function(case)
  local new = scalar.tape(case.dtype)
  local q, all_q = rows_of(new, case.q)
  local k, all_k = rows_of(new, case.k)
  local v, all_v = rows_of(new, case.v)
  local beta, out, starts, dout = {}, {}, {}, case.dout:flat()
  for h, x in ipairs(case.beta:flat()) do beta[h] = new(x) end
  for h = 1, #q do
    local kv = math.ceil(h * #k / #q)
    local rows = head(q[h], k[kv], v[kv], scalar.sigmoid(beta[h]), case, case.slopes and case.slopes[h] or 0)
    for _, x in ipairs(rows) do
      out[#out + 1] = x.value
      starts[#starts + 1] = { x, dout[#out] }
    end
  end
  scalar.backward(starts)
  return { out = out, dq = gradients(all_q), dk = gradients(all_k), dv = gradients(all_v),
    dbeta = gradients(beta) }
end
