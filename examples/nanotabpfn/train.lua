--- Trains nanoTabPFN from scratch on generated tables:
--   mosaic-lua -n 2 examples/nanotabpfn/train.lua --help
package.path = (arg[0]:match "^(.*)nanotabpfn/[^/]*$" or "../") .. "?.lua;" .. package.path
local mosaic = require "mosaic"
local NanoTabPFN = require "nanotabpfn.model"
local Progress = require "nanotabpfn.progress"
local Stream = require "nanotabpfn.prior.stream"
local Trainer = require "nanotabpfn.trainer"
local held_out = require "nanotabpfn.held_out"
local model_file = require "nanotabpfn.model_file"
local options = require "support.options"

local OPTIONS = {
  { "out", "build/nanotabpfn", "folder of model.safetensors and metrics.jsonl" },
  { "steps", 2500, "training steps", integer = 1, most = Stream.LAST_BATCH },
  { "tables", 32, "tables per step", integer = 1, most = Stream.MOST_TABLES },
  { "rows", 150, "rows per table, train and test together", integer = 4 },
  { "features", 5, "features per table", integer = 1 },
  { "classes", 2, "classes that the model can tell apart", integer = 2 },
  { "embed-dim", 96, "size of a cell's embedding", integer = 1 },
  { "num-heads", 4, "attention heads", integer = 1 },
  { "mlp-hidden", 192, "hidden units of a block's MLP", integer = 1 },
  { "num-layers", 3, "blocks", integer = 1 },
  { "lr", 4e-3, "learning rate", above = 0 },
  { "clip", 1.0, "largest norm of the gradient", above = 0 },
  { "seed", 0, "of the first weights and of the tables", integer = 0 },
  { "strategy", "ring", "of attention over the rows: any by name, or local on one rank" },
  { "column-strategy", "local", "of attention over the columns, which are sharded for it; local: whole" },
  { "dtype", "f32", "of the weights: f32 or f64" },
  { "held-out", 0, "generated tables to measure on besides, 200 are steady", integer = 0 },
  { "every", 100, "steps from one measurement, and saved model, to the next", integer = 1 },
  { "seconds", 0, "stop after so many seconds; 0 for no limit", least = 0 },
  { "enough", 0, "stop after so many steps where all would take longer than --seconds", integer = 0 },
}

local function make_model(o)
  return NanoTabPFN {
    embed_dim = o.embed_dim, num_heads = o.num_heads, mlp_hidden = o.mlp_hidden, num_layers = o.num_layers,
    num_outputs = o.classes, backend = { rows = o.strategy, columns = o.column_strategy }, dtype = o.dtype,
    generator = mosaic.generator(o.seed),
  }
end

--- Appends a line to metrics.jsonl, on rank 0.
local function logger(path, rank)
  if rank ~= 0 then return function() end end
  local file = assert(io.open(path, "w"))
  return function(entry)
    file:write(mosaic.data.json.encode(entry), "\n")
    file:flush()
  end
end

--- Saves the averaged weights and, where there are held-out tables, measures them.
local function measure(trainer, batches, o, log)
  trainer:averaged(function()
    if #batches > 0 then
      local loss, auc = held_out.evaluate(trainer.model, batches)
      log { step = trainer.done, held_out_loss = loss, held_out_auc = auc }
    end
    if trainer.comm.rank == 0 then model_file.save(o.out .. "/model.safetensors", trainer.model) end
  end)
end

--- Is the time over, or will it not do for all steps and these are enough?
local function out_of_time(comm, start, step, o)
  if o.seconds <= 0 then return false end
  local spent = mosaic.clock() - start
  local late = spent > o.seconds or step == o.enough and spent / step * o.steps > o.seconds
  return comm:broadcast(mosaic.tensor { late and 1 or 0 }, 0):item() == 1 -- rank 0's clock decides for all
end

local function make_trainer(o)
  return Trainer {
    model = make_model(o), lr = o.lr, clip = o.clip, seed = o.seed, tables = o.tables, rows = o.rows,
    features = o.features, classes = o.classes,
  }
end

local function train(o)
  options.check_strategy(o.strategy)
  local trainer = make_trainer(o)
  local comm = trainer.comm
  if comm.rank == 0 then mosaic.data.make_folder(o.out) end
  local log = logger(o.out .. "/metrics.jsonl", comm.rank)
  local batches = held_out.tables(o.held_out, {
    comm = comm, rows = o.rows, features = o.features, classes = o.classes,
  })
  local progress, start = Progress(o.steps, comm.rank), mosaic.clock()
  for step = 1, o.steps do
    local loss, norm, auc = trainer:next()
    log {
      step = step, loss = loss, auc = auc, grad_norm = norm, tables = step * o.tables, ranks = comm.size,
      seconds = mosaic.clock() - start,
    }
    progress:update(step, ("loss %.3f"):format(loss))
    local last = step == o.steps or out_of_time(comm, start, step, o)
    if last or step % o.every == 0 then measure(trainer, batches, o, log) end
    if last then break end
  end
  progress:finish()
end

local o = options.parse("examples/nanotabpfn/train.lua",
  "Trains nanoTabPFN on generated tables.", OPTIONS, arg)
if o then train(o) end
