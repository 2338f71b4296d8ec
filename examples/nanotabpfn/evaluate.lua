--- How good a model is on a table with known labels, beside simple methods on the same split:
--   mosaic-lua -n 2 examples/nanotabpfn/evaluate.lua --model m.safetensors --data breast_cancer.csv
-- Half of the rows, drawn by the seed, are the train rows.
package.path = (arg[0]:match "^(.*)nanotabpfn/[^/]*$" or "../") .. "?.lua;" .. package.path
local mosaic = require "mosaic"
local Labels = require "nanotabpfn.labels"
local Stream = require "nanotabpfn.prior.stream"
local classifier = require "nanotabpfn.classifier"
local fail = require "support.fail"
local halves = require "nanotabpfn.halves"
local metrics = require "nanotabpfn.metrics"
local model_file = require "nanotabpfn.model_file"
local options = require "support.options"

local OPTIONS = {
  { "model", options.REQUIRED, "a model made by train.lua" },
  { "data", options.REQUIRED, "CSV file with numbers and labels" },
  { "target", "target", "the column with the labels" },
  { "seed", 0, "of the split", integer = 0 },
  { "json", "", "file to write the figures to" },
  { "strategy", "ring", "how attention over the rows is shared" },
}

local BASELINES = {
  { "kNN (k = 5)", "knn" }, { "logistic regression", "logistic" }, { "majority class", "majority" },
}

--- Rows of numbers and class numbers in the order of `order`.
local function reordered(rows, labels, order)
  local x, y = {}, {}
  for i, from in ipairs(order) do x[i], y[i] = rows[from], labels[from] end
  return x, y
end

--- Fails on the first row with a missing cell: there is no number for it to go on with.
local function refuse_missing(t, columns)
  local row, name
  for _, column in ipairs(columns) do
    local first = t:missing(column)[1]
    if first and (not row or first < row) then row, name = first, column end
  end
  if row then fail("%s: row %d, column '%s' is missing; evaluate needs every cell", t.path, row, name) end
end

--- The table, shuffled: rows, class numbers from 1, how many of them train, how many classes.
local function read(o)
  local t = fail.reading(mosaic.data.read_csv, o.data)
  local names = {}
  for _, name in ipairs(t.names) do
    if name ~= o.target then names[#names + 1] = name end
  end
  refuse_missing(t, t.names)
  local labels = Labels(t:text(o.target))
  local order = Stream(o.seed, 0, 0):permutation(t.rows)
  local x, y = reordered(t:numeric(names):tolist(), labels:encode(t:text(o.target)), order)
  return x, y, math.floor(t.rows / 2), labels
end

--- This rank's rows as tensors, and the model's probabilities for the test rows.
local function run_model(model, x, y, train_rows, classes)
  local comm = model:communicator()
  local whole_x = mosaic.tensor(x, { dtype = "f64" }):unsqueeze(1)
  local whole_y = (mosaic.tensor(y, { dtype = "f64" }) - 1):view(1, #y)
  local own_x = mosaic.shard(whole_x, { axis = 2, comm = comm })
  local own_y = mosaic.shard(whole_y, { axis = 2, comm = comm })
  return classifier.probabilities(model, own_x, own_y, train_rows, classes)
end

--- { { name, auc, accuracy }, ... }, the model first; what is printed and written.
local function compare(o)
  options.check_strategy(o.strategy)
  local model = model_file.load(o.model, { backend = o.strategy }):eval()
  local x, y, train_rows, labels = read(o)
  local classes = labels:count()
  labels:check_fit(o.data, model.sizes.num_outputs)
  local train_x, test_x = halves(x, train_rows)
  local train_y, test_y = halves(y, train_rows)
  local results = {}
  local function add(name, key, probabilities)
    results[#results + 1] = { name = name, key = key, auc = metrics.auc(probabilities, test_y, classes),
      accuracy = metrics.accuracy(probabilities, test_y) }
  end
  add("nanoTabPFN", "model", run_model(model, x, y, train_rows, classes))
  for _, baseline in ipairs(BASELINES) do
    local method = require("nanotabpfn.baseline." .. baseline[2])
    add(baseline[1], baseline[2], method(train_x, train_y, test_x, classes))
  end
  return results, #test_y, train_rows, model
end

local function evaluate(o)
  local results, test_rows, train_rows, model = compare(o)
  if model:communicator().rank ~= 0 then return end
  print(("%s: %d train rows, %d test rows"):format(o.data, train_rows, test_rows))
  print(("  %-22s %7s  %8s"):format("", "AUC", "accuracy"))
  local figures = {}
  for _, r in ipairs(results) do
    print(("  %-22s %7s  %8.4f"):format(r.name, r.auc and ("%.4f"):format(r.auc) or "n/a", r.accuracy))
    figures[r.key] = { auc = r.auc or mosaic.data.json.null, accuracy = r.accuracy }
  end
  if not results[1].auc then print "  n/a: the test rows hold one class only, so there is nothing to rank" end
  if o.json ~= "" then
    local file = assert(io.open(o.json, "w"))
    file:write(mosaic.data.json.encode(figures), "\n")
    file:close()
  end
end

local o = options.parse("examples/nanotabpfn/evaluate.lua",
  "Compares a model with simple methods on a table.", OPTIONS, arg)
if o then evaluate(o) end
