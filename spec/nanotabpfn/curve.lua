--- Loss curves of 20 steps on fixed tables, on the ranks of whatever world this runs in.
local mosaic = require "mosaic"
local Trainer = require "nanotabpfn.trainer"
local support = require "spec.nanotabpfn.support"

local curve = {}

--- Steps a trainer through batches: x[k] (tables, rows, features), y[k]; fills losses and norms.
local function follow(trainer, x, y, train_rows)
  trainer.losses, trainer.norms = {}, {}
  local shard = { axis = 2, comm = trainer.comm }
  for k = 1, #x do
    trainer.losses[k], trainer.norms[k] = trainer:step {
      x = mosaic.shard(x[k], shard), y = mosaic.shard(y[k], shard), train_rows = train_rows,
      test_cells = x[k]:size(1) * (x[k]:size(2) - train_rows),
    }
  end
  return trainer
end

--- The first steps (default 20) of the reference run golden/nanotabpfn_train20; returns the trainer.
function curve.reference(dtype, golden, backend, steps)
  local model = support.reference_model { dtype = dtype, backend = backend or "local" }
  local x, y = {}, {}
  for k = 1, steps or 20 do x[k], y[k] = golden.x[k], golden.y[k] end
  return follow(Trainer { model = model }, x, y, golden.train_rows:item())
end

--- A small model on 13 rows, 5 of them train rows; returns the list of losses.
function curve.small(options)
  local x, y = {}, {}
  for k = 1, 20 do x[k], y[k] = support.table(2, 13, 3, k % 4) end
  local model = support.small_model { backend = options.backend, num_layers = 1 }
  return follow(Trainer { model = model, lr = 0.02 }, x, y, 5).losses
end

return curve
