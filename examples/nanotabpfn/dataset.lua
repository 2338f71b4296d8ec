--- Tables in CSV files as the model wants them, each rank reading its own rows only.
--
-- The rows of the train file come first, those of the test file after them; rank r of p holds the r-th
-- contiguous share. Columns that are not numbers on some rank become category numbers, in the sorted order of
-- the train file's texts; texts that only the test file has follow. A missing cell is an error on all ranks
-- that names its row (from 1, after the header) and column, unless imputation is asked for: the mean of the
-- train rows, or for categories one category more.
local mosaic = require "mosaic"
local Labels = require "nanotabpfn.labels"
local fail = require "support.fail"

local data = mosaic.data

local dataset = {}

--- The feature columns: all of the train file's but the target.
local function feature_names(train, target)
  local names = {}
  train:find(target)
  for _, name in ipairs(train.all) do
    if name ~= target then names[#names + 1] = name end
  end
  if #names == 0 then fail("%s has no column besides the target '%s'", train.path, target) end
  return names
end

--- Rows first..last of the joined tables as ranges of the train and of the test file.
local function ranges(first, last, train_rows)
  return { first, math.min(last, train_rows) },
    { math.max(first, train_rows + 1) - train_rows, last - train_rows }
end

local function read_range(path, range, names)
  if range[2] < range[1] then return nil end
  return fail.reading(data.read_csv, path, { rows = range, columns = names })
end

--- This rank's parts of the two files: { { path, first row, table }, ... }, where it has any.
local function read_parts(files, rows, names)
  local parts = {}
  for i, path in ipairs(files) do
    local t = read_range(path, rows[i], names)
    if t then parts[#parts + 1] = { path = path, first = rows[i][1], table = t, is_train = i == 1 } end
  end
  return parts
end

--- Is column i made of numbers on every rank? A list of truth values.
local function numeric_columns(comm, parts, names)
  local own, result = {}, {}
  for i, name in ipairs(names) do
    own[i] = 1
    for _, part in ipairs(parts) do
      if not part.table:is_numeric(name) then own[i] = 0 end
    end
  end
  for i = 1, #names do result[i] = true end
  for _, list in ipairs(comm:all_gather_list(own)) do
    for i, value in ipairs(list) do result[i] = result[i] and value == 1 end
  end
  return result
end

--- text -> number from 0, over both whole files; the train file's come first.
local function categories(files, name)
  local numbers, count = {}, 0
  for _, path in ipairs(files) do
    local fresh, seen = {}, {}
    for _, text in ipairs(fail.reading(data.read_csv, path, { columns = { name } }):text(name)) do
      if not numbers[text] and not seen[text] then fresh[#fresh + 1], seen[text] = text, true end
    end
    table.sort(fresh)
    for _, text in ipairs(fresh) do numbers[text], count = count, count + 1 end
  end
  return numbers
end

--- One column of a part as a f64 tensor (rows).
local function column_values(part, name, numbers)
  if not numbers then return part.table:numeric(name) end
  local values = part.table:text(name)
  for i, text in ipairs(values) do values[i] = numbers[text] end
  return mosaic.tensor(values, { dtype = "f64" })
end

--- The first missing cell of this rank's parts: 1 or 2 for the file, row, column; zeros for none.
local function first_missing(parts, names)
  for _, part in ipairs(parts) do
    local best
    for i, name in ipairs(names) do
      local row = part.table:missing(name)[1]
      if row and (not best or row < best[2]) then best = { part.is_train and 1 or 2, row, i } end
    end
    if best then return { best[1], best[2] + part.first - 1, best[3] } end
  end
  return { 0, 0, 0 }
end

local function refuse_missing(comm, files, parts, names)
  for _, cell in ipairs(comm:all_gather_list(first_missing(parts, names))) do
    if cell[1] > 0 then
      fail("%s: row %d, column '%s' is missing; --impute mean fills it with the mean of the train rows",
        files[cell[1]], cell[2], names[cell[3]])
    end
  end
end

--- x (rows, features): NaN becomes the column's mean over the train rows of all ranks.
local function impute_mean(comm, x, own_train, files, names)
  local known = x:narrow(1, 1, own_train)
  local missing = known:isnan()
  local sums = known:masked_fill(missing, 0):sum(1)
  local counts = missing:logical_not():to "f64":sum(1)
  local totals = comm:all_reduce(mosaic.stack({ sums, counts }, 1))
  for i, count in ipairs(totals[2]:flat()) do
    if count == 0 then fail("%s: column '%s' has no value to impute from", files[1], names[i]) end
  end
  return mosaic.where(x:isnan(), (totals[1] / totals[2]):unsqueeze(1):expand_as(x), x)
end

--- The features of this rank's rows as f64 (rows, features).
local function read_features(comm, files, rows, names, impute)
  local parts = read_parts(files, rows, names)
  if not impute then refuse_missing(comm, files, parts, names) end
  local is_numeric, columns = numeric_columns(comm, parts, names), {}
  for i, name in ipairs(names) do
    local numbers, pieces = not is_numeric[i] and categories(files, name) or nil, {}
    for k, part in ipairs(parts) do pieces[k] = column_values(part, name, numbers) end
    columns[i] = #pieces > 0 and mosaic.cat(pieces, 1) or mosaic.zeros { 0, dtype = "f64" }
  end
  local x = mosaic.stack(columns, 2)
  if not impute then return x end
  return impute_mean(comm, x, math.max(0, rows[1][2] - rows[1][1] + 1), files, names)
end

--- The labels of the train file, which every rank reads whole.
local function read_labels(path, target)
  local column = fail.reading(data.read_csv, path, { columns = { target } })
  local missing = column:missing(target)[1]
  if missing then fail("%s: row %d, column '%s': the label is missing", path, missing, target) end
  if column.rows < 2 then
    fail("%s: %d train rows, at least 2 are needed", path, column.rows)
  end
  local texts = column:text(target)
  return texts, Labels(texts)
end

--- options: comm, train, test (paths), target (a column), impute ("mean" or nil), outputs (of the model).
-- Returns x (1, own rows, features) and y (1, own rows), f64, and { train_rows, test_rows, labels }.
function dataset.read(options)
  local comm, files = options.comm, { options.train, options.test }
  local texts, labels = read_labels(options.train, options.target)
  labels:check_fit(options.train, options.outputs)
  local train_rows, test_rows = #texts, data.count_rows(options.test, { header = true })
  if test_rows == 0 then fail("%s has no rows", options.test) end
  local piece = mosaic.partition.new { rows = train_rows + test_rows, ranks = comm.size }:pieces(comm.rank)[1]
  local first, last = piece[1], piece[1] + piece[3] - 1
  local rows = { ranges(first, last, train_rows) }
  local names = feature_names(fail.reading(data.read_csv, options.train, { rows = { 1, 0 } }), options.target)
  -- fails on all ranks if one is missing
  fail.reading(data.read_csv, options.test, { rows = { 1, 0 }, columns = names })
  local x = read_features(comm, files, rows, names, options.impute)
  local y, numbers = {}, labels:encode(texts)
  for i = first, last do y[#y + 1] = numbers[i] and numbers[i] - 1 or 0 end -- of test rows: not looked at
  return x:unsqueeze(1), mosaic.tensor(y, { dtype = "f64" }):view(1, #y),
    { train_rows = train_rows, test_rows = test_rows, labels = labels }
end

return dataset
