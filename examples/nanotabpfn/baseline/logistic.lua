--- Logistic regression on standardised columns, one class against the rest, by Newton's method.
-- The squared weights (not the intercept) are penalised by PENALTY / 2.
local PENALTY, STEPS, TOLERANCE = 1, 50, 1e-8

--- Mean and standard deviation of each column of the train rows (1 where a column is constant).
local function scaling(rows)
  local mean, sd = {}, {}
  for j = 1, #rows[1] do
    local sum, squares = 0, 0
    for _, row in ipairs(rows) do sum = sum + row[j] end
    mean[j] = sum / #rows
    for _, row in ipairs(rows) do squares = squares + (row[j] - mean[j]) ^ 2 end
    sd[j] = squares > 0 and math.sqrt(squares / #rows) or 1
  end
  return mean, sd
end

--- The rows scaled, with a 1 in front for the intercept.
local function prepare(rows, mean, sd)
  local result = {}
  for i, row in ipairs(rows) do
    result[i] = { 1 }
    for j = 1, #row do result[i][j + 1] = (row[j] - mean[j]) / sd[j] end
  end
  return result
end

local function probability(weights, row)
  local sum = 0
  for j = 1, #weights do sum = sum + weights[j] * row[j] end
  return 1 / (1 + math.exp(-sum))
end

--- Gradient and Hessian of the penalised loss.
local function derivatives(weights, rows, is_positive)
  local n, gradient, hessian = #weights, {}, {}
  for j = 1, n do
    local penalty = j > 1 and PENALTY or 0
    gradient[j], hessian[j] = penalty * weights[j], {}
    for k = 1, n do hessian[j][k] = j == k and penalty + 1e-9 or 0 end
  end
  for i, row in ipairs(rows) do
    local p = probability(weights, row)
    local error, curvature = p - (is_positive[i] and 1 or 0), p * (1 - p)
    for j = 1, n do
      gradient[j] = gradient[j] + error * row[j]
      local scale, line = curvature * row[j], hessian[j]
      for k = 1, n do line[k] = line[k] + scale * row[k] end
    end
  end
  return gradient, hessian
end

--- Solves a x = b for a symmetric positive matrix, by elimination; overwrites both, x ends in b.
local function solve(a, b)
  local n = #b
  for i = 1, n do
    for k = i + 1, n do
      local factor = a[k][i] / a[i][i]
      for j = i, n do a[k][j] = a[k][j] - factor * a[i][j] end
      b[k] = b[k] - factor * b[i]
    end
  end
  for i = n, 1, -1 do
    for j = i + 1, n do b[i] = b[i] - a[i][j] * b[j] end
    b[i] = b[i] / a[i][i]
  end
  return b
end

local function fit(rows, is_positive)
  local weights = {}
  for j = 1, #rows[1] do weights[j] = 0 end
  for _ = 1, STEPS do
    local gradient, hessian = derivatives(weights, rows, is_positive)
    local step, largest = solve(hessian, gradient), 0
    for j = 1, #weights do
      weights[j] = weights[j] - step[j]
      largest = math.max(largest, math.abs(step[j]))
    end
    if largest < TOLERANCE then break end
  end
  return weights
end

local function fit_class(rows, labels, class)
  local is_positive = {}
  for i, label in ipairs(labels) do is_positive[i] = label == class end
  return fit(rows, is_positive)
end

--- One probability per class; with more than two classes those of one against the rest, made to sum to 1.
local function combine(weights, row, classes)
  if classes == 2 then
    local p = probability(weights[2], row)
    return { 1 - p, p }
  end
  local result, sum = {}, 0
  for class = 1, classes do
    result[class] = probability(weights[class], row)
    sum = sum + result[class]
  end
  for class = 1, classes do result[class] = result[class] / sum end
  return result
end

return function(train_x, train_labels, test_x, classes)
  local mean, sd = scaling(train_x)
  local train, weights, probabilities = prepare(train_x, mean, sd), {}, {}
  for class = classes == 2 and 2 or 1, classes do weights[class] = fit_class(train, train_labels, class) end
  for i, row in ipairs(prepare(test_x, mean, sd)) do probabilities[i] = combine(weights, row, classes) end
  return probabilities
end
