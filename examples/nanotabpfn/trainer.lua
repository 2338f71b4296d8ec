--- Training: one step, and the loop around it.
--
-- The ranks share the work of making the tables, and then the rows of every table. The loss of a rank is
-- its part of the global mean; gradients are summed over the ranks, clipped by their global norm, and
-- then every rank takes the same step.
local mosaic = require "mosaic"
local metrics = require "nanotabpfn.metrics"
local objective = require "nanotabpfn.objective"
local prior = require "nanotabpfn.prior"

local optim = mosaic.optim

local Trainer = mosaic.class "Trainer"

local OPTIONS = { "model", "lr", "clip", "seed", "tables", "rows", "features", "classes" }

--- options: model; lr (4e-3), clip (1.0), and what prior.batch takes: seed (0), tables (32), rows (150),
-- features (5), classes (the model's outputs).
function Trainer:init(options)
  mosaic.check.options("Trainer", options, OPTIONS)
  self.model, self.clip = options.model, options.clip or 1
  self.tables, self.rows = options.tables or 32, options.rows or 150
  self.features, self.classes = options.features or 5, options.classes or self.model.sizes.num_outputs
  self.seed, self.done = options.seed or 0, 0
  prior.check("Trainer", self:prior_options(self.done))
  self.comm, self.parameters = self.model:communicator(), self.model:parameters()
  mosaic.broadcast_parameters(self.model, { comm = self.comm })
  self.optimizer = optim.ScheduleFreeAdamW { params = self.parameters, lr = options.lr or 4e-3 }
end

--- What the prior is asked for at step `index`.
function Trainer:prior_options(index)
  return {
    seed = self.seed, index = index, tables = self.tables, rows = self.rows,
    features = self.features, classes = self.classes,
  }
end

--- The batch of step `index` (from 0), this rank's rows of it.
function Trainer:batch(index)
  return prior.shard(self.comm, self:prior_options(index))
end

local function step(self, batch)
  local logits = self.model(batch.x, batch.y, batch.train_rows)
  objective.part(logits, batch.y, batch.test_cells):backward()
  mosaic.sync_gradients(self.model, { comm = self.comm })
  local norm = optim.clip_grad_norm_(self.parameters, self.clip)
  self.optimizer:step()
  self.optimizer:zero_grad()
  self.done = self.done + 1
  local all, labels = objective.gather(self.comm, logits, batch.y)
  local auc, tables = metrics.table_aucs(all, labels)
  return objective.mean(all, labels), norm, auc / math.max(1, tables)
end

--- One step on a batch of this rank's rows { x, y, train_rows, test_cells }. Returns the global loss, the
-- norm of the gradient before clipping, and the mean AUC of the tables; the same on every rank.
function Trainer:step(batch)
  return mosaic.scope(step, self, batch)
end

--- The next step on generated tables; returns what step does.
function Trainer:next()
  return self:step(self:batch(self.done))
end

--- Runs body() with the averaged weights, those to evaluate and to save, in the model.
function Trainer:averaged(body)
  self.optimizer:eval()
  body()
  self.optimizer:train()
end

return Trainer
