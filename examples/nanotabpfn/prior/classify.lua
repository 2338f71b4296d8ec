--- From the numbers of a causal model to a classification table.
--
-- Some columns become categories; outliers are pulled in; every column is standardised; the target is
-- cut into classes. Columns are Lua lists of numbers, one a row.
local classify = {}

--- Mean and (unbiased) standard deviation.
local function moments(values)
  local sum, squares, n = 0, 0, #values
  for i = 1, n do sum = sum + values[i] end
  local mean = sum / n
  for i = 1, n do squares = squares + (values[i] - mean) ^ 2 end
  return mean, math.sqrt(squares / (n - 1))
end

--- In place: nothing further than 4 standard deviations from the mean, twice over.
local function clamp_outliers(values)
  for _ = 1, 2 do
    local mean, sd = moments(values)
    for i = 1, #values do
      values[i] = math.max(mean - 4 * sd, math.min(mean + 4 * sd, values[i]))
    end
  end
end

local function is_constant(values)
  for i = 2, #values do
    if values[i] ~= values[1] then return false end
  end
  return true
end

--- In place: mean 0 and standard deviation 1, within +-100; a constant column becomes 0.
local function standardise(values)
  local constant, mean, sd = is_constant(values), moments(values)
  for i = 1, #values do
    local z = constant and 0 or (values[i] - mean) / (sd + 1e-20)
    values[i] = math.max(-100, math.min(100, z))
  end
end

--- How many of the boundaries lie below each value: 0, 1, ..., #boundaries.
local function bin(values, boundaries)
  local ids = {}
  for i = 1, #values do
    local id = 0
    for _, boundary in ipairs(boundaries) do
      if values[i] > boundary then id = id + 1 end
    end
    ids[i] = id
  end
  return ids
end

--- `count` values of random rows.
local function random_values(stream, values, count)
  local list = {}
  for i = 1, count do list[i] = values[stream:integer(1, #values)] end
  return list
end

--- Renames 0..count-1 at random, in place.
local function permute_ids(stream, ids, count)
  local names = stream:permutation(count)
  for i = 1, #ids do ids[i] = names[ids[i] + 1] - 1 end
end

local function categorise(stream, values)
  local count = math.max(2, math.floor(-10 * math.log(1 - stream:uniform()) + 0.5)) -- Gamma(1, 10)
  local ids = bin(values, random_values(stream, values, count - 1))
  if stream:uniform() < 0.7 then permute_ids(stream, ids, count) end
  return ids
end

--- The columns as the model will see them, in random order.
function classify.features(stream, columns)
  local share = stream:uniform() < 0.2 and stream:uniform() or 0
  local order, result = stream:permutation(#columns), {}
  for i, values in ipairs(columns) do
    if stream:uniform() < share then values = categorise(stream, values) end
    clamp_outliers(values)
    standardise(values)
    result[order[i]] = values
  end
  return result
end

--- Class numbers 0..classes-1 for the rows: the target cut at random rows' values, or at N(0, 1).
function classify.labels(stream, values, classes)
  standardise(values)
  local boundaries = random_values(stream, values, classes - 1)
  if stream:uniform() < 0.5 then
    for i = 1, classes - 1 do boundaries[i] = stream:normal() end
  end
  local ids = bin(values, boundaries)
  permute_ids(stream, ids, classes)
  return ids
end

--- Do the rows 1..train_rows and the rows after them hold the same classes, two or more?
function classify.is_splittable(labels, train_rows)
  local train, test, count = {}, {}, 0
  for i, label in ipairs(labels) do
    if i <= train_rows then train[label] = true else test[label] = true end
  end
  for label in pairs(train) do
    if not test[label] then return false end
    count = count + 1
  end
  for label in pairs(test) do
    if not train[label] then return false end
  end
  return count >= 2
end

--- Is there a column that varies, and no number that is not finite?
function classify.is_usable(columns)
  local varies = false
  for _, values in ipairs(columns) do
    for i = 1, #values do
      if values[i] ~= values[i] then return false end
    end
    varies = varies or not is_constant(values)
  end
  return varies
end

return classify
