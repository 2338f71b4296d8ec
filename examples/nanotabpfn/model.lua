--- nanoTabPFN: a transformer that reads a whole table, train rows with labels and test rows without, and
-- answers with the classes of the test rows.
--
--   local model = NanoTabPFN { backend = "ring" }
--   local logits = model(x, y, train_rows) -- (tables, test rows, classes)
--
-- x (tables, rows, features) and y (tables, rows) hold this rank's rows: the rows may be sharded over the
-- ranks, any number on each. Rows 1..train_rows of the whole table are the train rows; labels of the
-- others are not looked at. Every cell becomes an embedding; blocks of attention between the columns of a
-- row and between the rows of a column mix them; the target cells of the test rows are decoded.
-- backend: the strategy of the attention between rows, which the ranks share, or "switch"; or one for each
-- axis, { rows = "ring", columns = "heads" }. The columns are whole ("local") unless they have a strategy:
-- then the cells are sharded by columns for that attention, and by rows again after it.
-- Parameters have the names of the published state dict.
local mosaic = require "mosaic"
local statistics = require "nanotabpfn.statistics"

local check, class, nn = mosaic.check, mosaic.class, mosaic.nn

local AXES = { "batch", "rows", "columns", "embed" }

local function linear(options, inputs, outputs)
  return nn.Linear {
    in_features = inputs, out_features = outputs, dtype = options.dtype, generator = options.generator,
  }
end

--- Two linear layers with a GELU between them.
local function mlp(first, second, x)
  return x:feed_forward(first.weight, first.bias, second.weight, second.bias)
end

--- Numbers to embeddings, one Linear(1, E) for all cells: (...) -> (..., E)
local Encoder = class("Encoder", nn.Module)

function Encoder:init(options)
  self.linear_layer = linear(options, 1, options.embed_dim)
end

function Encoder:forward(x)
  return self.linear_layer(x:unsqueeze(-1))
end

local Decoder = class("Decoder", nn.Module)

function Decoder:init(options)
  self.linear1 = linear(options, options.embed_dim, options.mlp_hidden)
  self.linear2 = linear(options, options.mlp_hidden, options.num_outputs)
end

function Decoder:forward(x)
  return mlp(self.linear1, self.linear2, x)
end

--- Attention between columns, attention between rows, MLP; each added and normalised.
local Block = class("Block", nn.Module)

local function attention(options, axis, layout)
  local backend = options.backend[axis]
  return mosaic.MultiAxisAttention {
    embed_dim = options.embed_dim, num_heads = options.num_heads, axes = AXES, attention_axis = axis,
    backend = backend, layout = layout, comm = backend ~= "local" and options.comm or nil,
    switch_axis = backend == "switch" and "columns" or nil,
    dtype = options.dtype, generator = options.generator,
  }
end

--- The same parameters for queries of the target column alone, which see all columns.
local function attention_of_target(options)
  return mosaic.CrossAxisAttention {
    embed_dim = options.embed_dim, num_heads = options.num_heads, axes = AXES, q_axis = "columns",
    kv_axis = "columns", dtype = options.dtype, generator = options.generator,
  }
end

--- options.target_only: the result of forward is the last column alone.
function Block:init(options)
  self.target_only = options.target_only
  self.by_target = options.target_only and options.backend.columns == "local"
  self.self_attention_between_features = self.by_target and attention_of_target(options)
    or attention(options, "columns", "contiguous")
  self.self_attention_between_datapoints = attention(options, "rows", options.layout)
  self.comm, self.layout = options.comm, options.layout
  self.shares_columns = options.backend.columns ~= "local"
  self.linear1 = linear(options, options.embed_dim, options.mlp_hidden)
  self.linear2 = linear(options, options.mlp_hidden, options.embed_dim)
  for i = 1, 3 do self["norm" .. i] = nn.LayerNorm { features = options.embed_dim, dtype = options.dtype } end
end

--- Attention between the columns of x, whose rows are shared.
function Block:between_columns(x)
  local attend, comm = self.self_attention_between_features, self.comm
  if not self.shares_columns then return attend(x) end
  local by_columns, counts = mosaic.switch(x, 2, 3, {
    comm = comm, from_layout = self.layout, to_layout = "contiguous",
  })
  return (mosaic.switch(attend(by_columns), 3, 2, {
    comm = comm, from_layout = "contiguous", to_layout = self.layout, to_counts = counts,
  }))
end

--- x and its attention between columns, of those columns that the result has.
function Block:mixed(x)
  local target = self.target_only and x:narrow(3, x:size(3), 1)
  if self.by_target then return self.self_attention_between_features(target, x), target end
  local mixed = self:between_columns(x)
  if target then return mixed:narrow(3, x:size(3), 1), target end
  return mixed, x
end

--- x (B, rows, C, E); every row sees the rows 1..train_rows only. With `target_only` the result is the
-- last column alone, (B, rows, 1, E): from the columns' attention on, nothing depends on the others.
function Block:forward(x, train_rows)
  x = self.norm1(self:mixed(x))
  x = self.norm2(self.self_attention_between_datapoints(x, { mask = { prefix = train_rows } }), x)
  return self.norm3(mlp(self.linear1, self.linear2, x), x)
end

local NanoTabPFN = class("NanoTabPFN", nn.Module)

local OPTIONS = {
  "embed_dim", "num_heads", "mlp_hidden", "num_layers", "num_outputs", "backend", "layout", "comm", "dtype",
  "generator",
}

local SIZES = { embed_dim = 96, num_heads = 4, mlp_hidden = 192, num_layers = 3, num_outputs = 2 }

--- The backend of each axis.
local function backends_of(backend)
  local per_axis = type(backend) == "table" and backend[1] == nil and backend.body == nil
  local given = per_axis and check.options("NanoTabPFN: backend", backend, { "rows", "columns" })
    or { rows = backend }
  return { rows = given.rows or "local", columns = given.columns or "local" }
end

--- All options have defaults: the published size (356,066 parameters), one rank.
function NanoTabPFN:init(options)
  options = check.options("NanoTabPFN", options or {}, OPTIONS)
  local backend = backends_of(options.backend)
  self.backend, self.layout = backend.rows, options.layout or "contiguous"
  self.comm = self.backend == "local" and mosaic.comm.alone() or options.comm
  local parts = {
    dtype = options.dtype, generator = options.generator,
    backend = backend, layout = self.layout, comm = self.comm,
  }
  self.sizes = {}
  for name, default in pairs(SIZES) do
    self.sizes[name] = check.integer("NanoTabPFN", name, options[name] or default, 1)
    parts[name] = self.sizes[name]
  end
  self.feature_encoder, self.target_encoder = Encoder(parts), Encoder(parts)
  self.transformer_blocks = {}
  for i = 1, parts.num_layers do
    parts.target_only = i == parts.num_layers
    self.transformer_blocks[i] = Block(parts)
  end
  self.decoder = Decoder(parts)
end

--- The ranks that share the rows: this one alone with the local backend, else all unless `comm` was given.
function NanoTabPFN:communicator()
  return self.comm or mosaic.comm.world()
end

--- How many train rows every rank holds, as a list; they come first in each rank's rows. Fails on all ranks
-- where the ranks bring different tables.
local function count_train_rows(comm, layout, x, train_rows)
  local ranks = comm:agree("NanoTabPFN", {
    tables = x:size(1), features = x:size(3), train_rows = train_rows,
  }, { rows = x:size(2) })
  local counts, total = {}, 0
  for i, rank in ipairs(ranks) do counts[i], total = rank.rows, total + rank.rows end
  if train_rows < 2 or train_rows > total then
    check.fail("NanoTabPFN: train_rows is %d, of %d rows; at least 2 are needed", train_rows, total)
  end
  local part = mosaic.partition.new {
    layout = layout, rows = total, ranks = comm.size, counts = layout == "contiguous" and counts or nil,
  }
  for rank = 0, comm.size - 1 do counts[rank + 1] = part:count_up_to(rank, train_rows) end
  return counts
end

--- Every feature standardised by the train rows of all ranks, within +-100; 0 where those are all equal.
-- The target of test rows is the mean target of the train rows.
local function standardised(comm, x, y, counts)
  local own = counts[comm.rank + 1]
  local known = mosaic.cat({ x:narrow(2, 1, own):to "f64", y:narrow(2, 1, own):to "f64":unsqueeze(-1) }, 3)
  local features = x:size(3)
  local mean, std, constant = statistics.merged(comm, known, counts)
  local z = (x:to "f64" - mean:narrow(3, 1, features)) / (std:narrow(3, 1, features) + 1e-20)
  z = z:clamp(-100, 100):masked_fill(constant:narrow(3, 1, features), 0)
  local unknown = mean:select(3, features + 1):expand(x:size(1), x:size(2) - own)
  return z, mosaic.cat({ known:select(3, features + 1), unknown }, 2)
end

--- logits (tables, this rank's test rows, classes)
function NanoTabPFN:forward(x, y, train_rows)
  local comm, dtype = self:communicator(), self.decoder.linear1.weight.dtype
  local counts = count_train_rows(comm, self.layout, x, train_rows)
  local own = counts[comm.rank + 1]
  local features, target = standardised(comm, x, y, counts)
  local cells = mosaic.cat({ -- (tables, rows, columns, embed)
    self.feature_encoder(features:to(dtype)),
    self.target_encoder(target:to(dtype):unsqueeze(-1)),
  }, 3)
  for _, block in ipairs(self.transformer_blocks) do cells = block(cells, train_rows) end
  return self.decoder(cells:select(3, -1):narrow(2, own + 1, x:size(2) - own))
end

return NanoTabPFN
