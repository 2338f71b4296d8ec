--- The truth that kernels are measured against: plain Lua doubles on nested lists, one loop an axis.
local plain = {}

--- a (m, k) times b (k, n).
function plain.matmul(a, b)
  local out = {}
  for i = 1, #a do
    out[i] = {}
    for j = 1, #b[1] do
      local sum = 0
      for p = 1, #b do sum = sum + a[i][p] * b[p][j] end
      out[i][j] = sum
    end
  end
  return out
end

function plain.transpose(a)
  local out = {}
  for j = 1, #a[1] do
    out[j] = {}
    for i = 1, #a do out[j][i] = a[i][j] end
  end
  return out
end

--- f of every row (last axis) of a nested list.
function plain.map_rows(a, f)
  if type(a[1]) ~= "table" then return f(a) end
  local out = {}
  for i, row in ipairs(a) do out[i] = plain.map_rows(row, f) end
  return out
end

function plain.sum(row)
  local sum = 0
  for _, x in ipairs(row) do sum = sum + x end
  return sum
end

--- log(sum(exp(row))).
function plain.logsumexp(row)
  local most, sum = -math.huge, 0
  for _, x in ipairs(row) do most = math.max(most, x) end
  for _, x in ipairs(row) do sum = sum + math.exp(x - most) end
  return most + math.log(sum)
end

function plain.log_softmax(row)
  local lse, out = plain.logsumexp(row), {}
  for i, x in ipairs(row) do out[i] = x - lse end
  return out
end

function plain.softmax(row)
  local out = plain.log_softmax(row)
  for i, x in ipairs(out) do out[i] = math.exp(x) end
  return out
end

--- (x - mean) / sqrt(var + eps) * weight + bias; var is biased.
function plain.layer_norm(row, weight, bias, eps)
  local n, out, squares = #row, {}, 0
  local mean = plain.sum(row) / n
  for _, x in ipairs(row) do squares = squares + (x - mean) ^ 2 end
  local scale = 1 / math.sqrt(squares / n + eps)
  for i, x in ipairs(row) do
    out[i] = (x - mean) * scale * (weight and weight[i] or 1) + (bias and bias[i] or 0)
  end
  return out
end

--- x / sqrt(mean(x^2) + eps) * weight.
function plain.rms_norm(row, weight, eps)
  local out, squares = {}, 0
  for _, x in ipairs(row) do squares = squares + x * x end
  for i, x in ipairs(row) do
    out[i] = x / math.sqrt(squares / #row + eps) * (weight and weight[i] or 1)
  end
  return out
end

return plain
