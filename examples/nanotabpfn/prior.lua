--- The prior: tables to learn from, made up on the fly by random causal models.
--
--   local batch = prior.batch { seed = 1, index = 0, tables = 8, rows = 150, features = 5, classes = 2 }
--   batch.x (tables, rows, features) f32, batch.y (tables, rows) f32 of 0..classes-1, batch.train_rows
--
-- A table depends on (seed, index, its number in the batch) alone: whatever the number of ranks, and
-- whichever of them makes it, it is the same. Tables are made on the CPU, number by number.
local mosaic = require "mosaic"
local Stream = require "nanotabpfn.prior.stream"
local classify = require "nanotabpfn.prior.classify"
local draw_hyperparameters = require "nanotabpfn.prior.hyperparameters"
local mlp_scm = require "nanotabpfn.prior.mlp_scm"
local tree_scm = require "nanotabpfn.prior.tree_scm"

local prior = {}

local ATTEMPTS = 10 -- with the batch's hyperparameters, before a table draws its own

local function reorder(list, order)
  local result = {}
  for i, from in ipairs(order) do result[i] = list[from] end
  return result
end

--- Shuffles the rows until train and test hold the same classes; nil when ten shuffles do not help.
local function split(stream, columns, labels, train_rows)
  for _ = 0, 10 do
    if classify.is_splittable(labels, train_rows) then return columns, labels end
    local order = stream:permutation(#labels)
    labels = reorder(labels, order)
    for i, values in ipairs(columns) do columns[i] = reorder(values, order) end
  end
end

--- One try: columns and labels, or nil when the table is of no use.
local function attempt(stream, h, options, train_rows, classes)
  local x, y = (h.is_tree and tree_scm or mlp_scm)(stream, h, options.rows, options.features)
  local columns = classify.features(stream, x:tolist())
  if not classify.is_usable(columns) then return nil end
  return split(stream, columns, classify.labels(stream, y:flat(), classes), train_rows)
end

local function make_table(stream, h, options, train_rows, classes)
  local tries = 0
  while true do
    local columns, labels = attempt(stream, h, options, train_rows, classes)
    if columns then return columns, labels end
    tries = tries + 1
    if tries % ATTEMPTS == 0 then h = draw_hyperparameters(stream) end
  end
end

--- Half of the batches have two classes, the others 2..most.
local function class_count(stream, most)
  return stream:uniform() < 0.5 and 2 or stream:integer(2, most)
end

--- 10 to 90 % of the rows, with room for two classes on either side.
local function train_count(stream, rows)
  return math.max(2, math.min(rows - 2, math.floor(rows * stream:uniform(0.1, 0.9))))
end

--- Tables first..last of the batch, and what all of its tables have in common, on the CPU.
local function generate_here(options, first, last)
  local stream, count = Stream(options.seed, options.index, 0), last - first + 1
  local h = draw_hyperparameters(stream)
  local train_rows = train_count(stream, options.rows)
  local classes = class_count(stream, options.classes)
  local x, y = mosaic.empty { count, options.rows, options.features }, mosaic.empty { count, options.rows }
  for number = first, last do
    local own, place = Stream(options.seed, options.index, number), number - first + 1
    local columns, labels = mosaic.scope(make_table, own, h, options, train_rows, classes)
    x[place]:copy_(mosaic.tensor(columns):t())
    y[place]:copy_(mosaic.tensor(labels))
  end
  return {
    x = x, y = y, train_rows = train_rows, classes = classes,
    test_cells = options.tables * (options.rows - train_rows),
  }
end

local function generate(...) return mosaic.with_device("cpu", generate_here, ...) end

--- x and y where the model is.
local function send(batch)
  local device = mosaic.default_device()
  batch.x, batch.y = batch.x:to { device = device }, batch.y:to { device = device }
  return batch
end

--- What a batch's options are, the least of each (both sides of a split hold two classes or more) and the
-- most.
local LIMITS = {
  { "seed", 0 }, { "index", 0, Stream.LAST_BATCH }, { "tables", 1, Stream.MOST_TABLES }, { "rows", 4 },
  { "features", 1 }, { "classes", 2 },
}

--- Fails unless a batch can be made of these options.
function prior.check(where, options)
  for _, entry in ipairs(LIMITS) do
    local name, least, most = unpack(entry)
    if mosaic.check.integer(where, name, options[name], least) > (most or math.huge) then
      mosaic.check.fail("%s: %s must be at most %d, got %d: every table has random numbers of its own", where,
        name, most, options[name])
    end
  end
end

--- The whole batch. options: seed, index (of the batch, from 0), tables, rows, features, classes (the
-- most), all required.
function prior.batch(options)
  prior.check("prior.batch", options)
  return send(generate(options, 1, options.tables))
end

--- All rows of some tables on every rank -> some rows of all tables: the ranks' tables put together, and
-- this rank's rows cut out.
local function exchange(comm, t)
  return mosaic.shard(comm:all_gather(t, 1), { axis = 2, comm = comm, layout = "contiguous" })
end

--- The same batch, this rank's rows of it: every rank makes its share of the tables.
function prior.shard(comm, options)
  if comm.size == 1 then return prior.batch(options) end
  prior.check("prior.shard", options)
  local piece = mosaic.partition.new { rows = options.tables, ranks = comm.size }:pieces(comm.rank)[1]
  local batch = generate(options, piece[1], piece[1] + piece[3] - 1)
  batch.x, batch.y = exchange(comm, batch.x), exchange(comm, batch.y)
  return send(batch)
end

return prior
