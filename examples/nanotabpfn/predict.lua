--- Labels the rows of one CSV file by those of another:
--   mosaic-lua -n 2 examples/nanotabpfn/predict.lua --model m.safetensors --train a.csv --test b.csv \
--     --target NAME --out p.csv
-- The rows of both are sharded over the ranks. p.csv has a row for each test row: the likeliest label,
-- and the probability of every label.
package.path = (arg[0]:match "^(.*)nanotabpfn/[^/]*$" or "../") .. "?.lua;" .. package.path
local mosaic = require "mosaic"
local classifier = require "nanotabpfn.classifier"
local dataset = require "nanotabpfn.dataset"
local metrics = require "nanotabpfn.metrics"
local model_file = require "nanotabpfn.model_file"
local options = require "support.options"

local OPTIONS = {
  { "model", options.REQUIRED, "a model made by train.lua" },
  { "train", options.REQUIRED, "CSV file with labels, first row the names of the columns" },
  { "test", options.REQUIRED, "CSV file with the same columns; it may lack the labels" },
  { "target", options.REQUIRED, "the column with the labels" },
  { "out", options.REQUIRED, "CSV file to write" },
  { "impute", "", "mean: fill missing cells with the mean of the train rows" },
  { "strategy", "ring", "how attention over the rows is shared" },
}

--- The columns of the result: the label, and a probability for each class.
local function result_columns(probabilities, labels, target)
  local names, columns = { target }, { {} }
  for class, name in ipairs(labels.names) do
    names[class + 1], columns[class + 1] = "probability_" .. name, {}
  end
  for i, row in ipairs(probabilities) do
    columns[1][i] = labels.names[metrics.argmax(row)]
    for class, p in ipairs(row) do columns[class + 1][i] = p end
  end
  return names, columns
end

local function predict(o)
  options.check_strategy(o.strategy)
  if o.impute ~= "" then mosaic.check.one_of("--impute", "method", o.impute, { "mean" }) end
  local model = model_file.load(o.model, { backend = o.strategy }):eval()
  local comm = model:communicator()
  local x, y, facts = dataset.read {
    comm = comm, train = o.train, test = o.test, target = o.target, outputs = model.sizes.num_outputs,
    impute = o.impute ~= "" and o.impute or nil,
  }
  local classes = facts.labels:count()
  local probabilities = classifier.probabilities(model, x, y, facts.train_rows, classes)
  if comm.rank ~= 0 then return end
  mosaic.data.write_csv(o.out, result_columns(probabilities, facts.labels, o.target))
  print(("%s: %d rows labelled from %d, %d classes"):format(o.out, facts.test_rows, facts.train_rows,
    classes))
end

local o = options.parse("examples/nanotabpfn/predict.lua",
  "Labels the rows of a table by those of another.", OPTIONS, arg)
if o then predict(o) end
