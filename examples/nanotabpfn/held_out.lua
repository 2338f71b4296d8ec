--- A fixed set of generated tables that training never sees: its loss and AUC are the steady measure of how
-- far training has come.
local mosaic = require "mosaic"
local metrics = require "nanotabpfn.metrics"
local objective = require "nanotabpfn.objective"
local prior = require "nanotabpfn.prior"

local held_out = {}

local SEED = 2 ^ 31 - 1 -- no training run's
local TABLES = 4        -- that share their hyperparameters

--- `count` tables, this rank's rows of them. options: comm, rows, features, classes.
function held_out.tables(count, options)
  local batches = {}
  for index = 1, math.ceil(count / TABLES) do
    batches[index] = prior.shard(options.comm, {
      seed = SEED, index = index, tables = math.min(TABLES, count - (index - 1) * TABLES),
      rows = options.rows, features = options.features, classes = options.classes,
    })
  end
  return batches
end

--- Of one batch: the mean loss over its test cells and how many they are, the sum of its tables' AUC and
-- how many have one.
local function measure(model, batch)
  local logits, labels = objective.gather(model:communicator(),
    model(batch.x, batch.y, batch.train_rows), batch.y)
  return objective.mean(logits, labels), labels:numel(), metrics.table_aucs(logits, labels)
end

--- The model's mean loss over all test cells and the mean over the tables of their AUC; on every rank.
function held_out.evaluate(model, batches)
  local loss, cells, auc, tables = 0, 0, 0, 0
  for _, batch in ipairs(batches) do
    local mean, count, sum, measured = mosaic.no_grad(mosaic.scope, measure, model, batch)
    loss, cells = loss + mean * count, cells + count
    auc, tables = auc + sum, tables + measured
  end
  return loss / cells, auc / math.max(1, tables)
end

return held_out
