--- The truth about attention: every score, in plain Lua doubles, nothing skipped, nothing tiled.
--
--   dense.attention(q, k, v, options) -> { out = list, lse = list }
--   dense.gradients(q, k, v, dout, dlse, options) -> { dq = list, dk = list, dv = list, dbias = list }
--
-- q, k, v are tensors as mosaic.sdpa takes them, and so are the options; dout and dlse are flat lists
-- (dlse may be nil). Results are flat lists in row-major order. Shares no code with the library.
-- Functions of the mask are called with numbers; dense.slopes[score] is the derivative of a score function
-- by its score, which the spec has written down.
local dropout = require "spec.support.dropout"
local numbers = require "spec.support.numbers"

local dense = { slopes = setmetatable({}, { __mode = "k" }) }

--- (batch, heads, rows, d) of a shape with 2 to 5 axes.
local function sizes(shape)
  local n, batch = #shape, 1
  for i = 1, n - 3 do batch = batch * shape[i] end
  return batch, shape[n - 2] or 1, shape[n - 1], shape[n]
end

local function list_of(value)
  return value.flat and value:flat() or value
end

--- f(b, h, i, j) -> element of a tensor or list that broadcasts to (batch..., heads, nq, nk).
local function broadcast_reader(tensor, q_shape, nk)
  local values, shape = tensor:flat(), tensor.shape
  local full = { unpack(q_shape) }
  full[#full] = nk
  return function(b, h, i, j)
    local index = { [#full] = j, [#full - 1] = i, [#full - 2] = h }
    for axis = #full - 3, 1, -1 do
      index[axis], b = b % full[axis], math.floor(b / full[axis])
    end
    local at, step = 0, 1
    for axis = #shape, 1, -1 do
      local own = shape[axis] == 1 and 0 or index[axis + #full - #shape]
      at, step = at + own * step, step * shape[axis]
    end
    return values[at + 1], at + 1
  end
end

--- f(b, i) -> id; ids are (n) or (batch..., n).
local function document_reader(ids, n)
  local list = list_of(ids)
  return function(b, i) return list[#list == n and i + 1 or b * n + i + 1] end
end

local function positions(value, n)
  if value then return list_of(value) end
  local list = {}
  for i = 1, n do list[i] = i end
  return list
end

--- f(b, h, i, j) -> nonzero where the key is seen: of a tensor, or of the user's function.
local function keep_reader(keep, q_shape, nk, qp, kp, options)
  if type(keep) ~= "function" then return broadcast_reader(keep, q_shape, nk) end
  return function(b, h, i, j)
    b, h = numbers(options, q_shape, b, h)
    return keep(b, h, qp[i + 1], kp[j + 1]) and 1 or 0
  end
end

--- f(b, h, i, j) -> what is added to a score, or nil where the key must not be seen.
local function masker(q_shape, nk, options)
  local mask, nq = options.mask or {}, q_shape[#q_shape - 1]
  local qp, kp = positions(options.q_positions, nq), positions(options.k_positions, nk)
  local window = type(mask.window) == "number" and { mask.window, mask.window } or mask.window
  local keep = mask.keep and keep_reader(mask.keep, q_shape, nk, qp, kp, options)
  local bias = mask.bias and broadcast_reader(mask.bias, q_shape, nk)
  local slopes = mask.alibi and list_of(mask.alibi)
  local q_document, k_document
  if mask.documents then
    q_document = document_reader(mask.documents.q or mask.documents, nq)
    k_document = document_reader(mask.documents.k or mask.documents, nk)
  end
  return function(b, h, i, j)
    local from, to = qp[i + 1], kp[j + 1]
    if mask.causal and to > from then return nil end
    if window and (to < from - window[1] or to > from + window[2]) then return nil end
    if mask.prefix and to > mask.prefix then return nil end
    if q_document and q_document(b, i) ~= k_document(b, j) then return nil end
    if keep and keep(b, h, i, j) == 0 then return nil end
    local sum = bias and bias(b, h, i, j) or 0
    return slopes and sum - slopes[h + 1] * (from - to) or sum
  end
end

--- Of d elements of two lists, after the first a_at and b_at.
function dense.dot(a, a_at, b, b_at, d)
  local sum = 0
  for c = 1, d do sum = sum + a[a_at + c] * b[b_at + c] end
  return sum
end

--- Calls f(b, h, kv_head, i, q_row) for every query; q_row counts them from 0.
local function each_query(q_shape, kv_heads, f)
  local batch, heads, nq = sizes(q_shape)
  for b = 0, batch - 1 do
    for h = 0, heads - 1 do
      for i = 0, nq - 1 do
        f(b, h, b * kv_heads + math.floor(h * kv_heads / heads), i, (b * heads + h) * nq + i)
      end
    end
  end
end

--- p[j + 1] of one query (nil: not seen), and its lse.
local function softmax_row(scores, nk)
  local top, sum, p = -math.huge, 0, {}
  for j = 1, nk do
    if scores[j] then top = math.max(top, scores[j]) end
  end
  if top == -math.huge then return p, top end
  for j = 1, nk do
    if scores[j] then sum = sum + math.exp(scores[j] - top) end
  end
  local lse = top + math.log(sum)
  for j = 1, nk do
    if scores[j] then p[j] = math.exp(scores[j] - lse) end
  end
  return p, lse
end

--- Visits every query: f(row, keys, added, query). Queries are counted over everything, the query's
-- first key is number `keys` of all keys, added[j] joins the score of key j (false: not seen);
-- query.kept[j] is what dropout multiplies its probability by, query.rescore(j, s) the score that the
-- user's function makes of s, and its derivative.
function dense.each_score(q, k, options, f)
  local _, kv_heads, nk = sizes(k.shape)
  local extra, kept = masker(q.shape, nk, options), dropout(options, q.shape)
  local qp, kp = positions(options.q_positions, q:size(-2)), positions(options.k_positions, nk)
  local score = options.mask and options.mask.score
  each_query(q.shape, kv_heads, function(b, h, kv, i, row)
    local added, query = {}, { b = b, h = h, i = i, kept = {} }
    local batch, head = numbers(options, q.shape, b, h)
    function query.rescore(j, s)
      if not score then return s, 1 end
      return score(s, batch, head, qp[i + 1], kp[j]), dense.slopes[score](s, batch, head, qp[i + 1], kp[j])
    end
    for j = 1, nk do
      added[j], query.kept[j] = extra(b, h, i, j - 1) or false, kept(b, h, qp[i + 1], kp[j])
    end
    f(row, kv * nk, added, query)
  end)
end

--- Visits every query with its probabilities: f(values, query).
local function each_softmax(q, k, v, options, f)
  local _, _, _, d = sizes(q.shape)
  local scale, nk = options.scale or 1 / math.sqrt(d), k.shape[#k.shape - 1]
  local values = { q = q:flat(), k = k:flat(), v = v:flat(), d = d, scale = scale }
  dense.each_score(q, k, options, function(row, keys, added, query)
    local scores = {}
    query.slope = {}
    for j = 1, nk do
      local product = added[j] and dense.dot(values.q, row * d, values.k, (keys + j - 1) * d, d)
      scores[j] = added[j] and scale * product + added[j]
      if scores[j] then scores[j], query.slope[j] = query.rescore(j, scores[j]) end
      if scores[j] == -math.huge then scores[j] = false end
    end
    query.row, query.keys = row, keys
    query.p, query.lse = softmax_row(scores, nk)
    f(values, query)
  end)
end

--- sum over j of kept[j] p[j] v[j], appended to out.
local function weighted_values(out, x, query)
  for c = 1, x.d do
    local sum = 0
    for j, p in pairs(query.p) do sum = sum + query.kept[j] * p * x.v[(query.keys + j - 1) * x.d + c] end
    out[query.row * x.d + c] = sum
  end
end

function dense.attention(q, k, v, options)
  local out, lse = {}, {}
  each_softmax(q, k, v, options or {}, function(x, query)
    lse[query.row + 1] = query.lse
    weighted_values(out, x, query)
  end)
  return { out = out, lse = lse }
end

function dense.zeros(count)
  local list = {}
  for i = 1, count do list[i] = 0 end
  return list
end

--- ds of one query and key flows to q, k and (unscaled) to the bias; p (as dropout left it) dout to v.
local function add_gradients(g, x, query, j, p, ds, dout)
  local d, q_at, k_at = x.d, query.row * x.d, (query.keys + j - 1) * x.d
  for c = 1, d do
    g.dq[q_at + c] = g.dq[q_at + c] + x.scale * ds * x.k[k_at + c]
    g.dk[k_at + c] = g.dk[k_at + c] + x.scale * ds * x.q[q_at + c]
    g.dv[k_at + c] = g.dv[k_at + c] + p * dout[q_at + c]
  end
end

function dense.gradients(q, k, v, dout, dlse, options)
  options = options or {}
  local bias = options.mask and options.mask.bias
  local bias_at = bias and broadcast_reader(bias, q.shape, k.shape[#k.shape - 1])
  local g = { dq = dense.zeros(q:numel()), dk = dense.zeros(k:numel()), dv = dense.zeros(v:numel()) }
  g.dbias = bias and dense.zeros(bias:numel())
  each_softmax(q, k, v, options, function(x, query)
    local dp, delta = {}, -(dlse and dlse[query.row + 1] or 0)
    for j, p in pairs(query.p) do
      dp[j] = query.kept[j] * dense.dot(dout, query.row * x.d, x.v, (query.keys + j - 1) * x.d, x.d)
      delta = delta + p * dp[j]
    end
    for j, p in pairs(query.p) do
      local ds = p * (dp[j] - delta) * query.slope[j]
      add_gradients(g, x, query, j, query.kept[j] * p, ds, dout)
      if bias then
        local _, at = bias_at(query.b, query.h, query.i, j - 1)
        g.dbias[at] = g.dbias[at] + ds
      end
    end
  end)
  return g
end

return dense
