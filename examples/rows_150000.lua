--- A table of 150,000 rows, sharded over the ranks: one block as in nanoTabPFN, attention between the
-- features of a row here, between the rows of a feature over all ranks, then an MLP; forward and back.
--   mosaic-lua -n 2 examples/rows_150000.lua --rows 150000
-- No rank ever holds the table: each draws its own rows of it. Prints what a rank did and held and sent.
package.path = (arg[0]:match "^(.*/)[^/]*$" or "") .. "?.lua;" .. package.path
local mosaic = require "mosaic"
local options = require "support.options"

local class, nn = mosaic.class, mosaic.nn

local OPTIONS = {
  { "rows", 1500, "rows of the table; 150000 is what this is for", integer = 1 },
  { "features", 5, "cells in a row", integer = 1 },
  { "embed-dim", 96, "size of a cell's embedding", integer = 1 },
  { "num-heads", 4, "attention heads", integer = 1 },
  { "mlp-hidden", 192, "hidden units of the MLP", integer = 1 },
  { "train-rows", 0, "rows that the others may look at, from the first; 0 for all", integer = 0 },
  { "backend", "ring", "strategy of the attention between rows" },
}

local Block = class("Block", nn.Module)

function Block:init(o)
  local function attention(axis, backend)
    return mosaic.MultiAxisAttention {
      embed_dim = o.embed_dim, num_heads = o.num_heads, axes = { "batch", "rows", "features", "embed" },
      attention_axis = axis, backend = backend,
    }
  end
  self.between_features, self.between_rows = attention("features", "local"), attention("rows", o.backend)
  self.mlp = nn.MLP { sizes = { o.embed_dim, o.mlp_hidden, o.embed_dim } }
  for i = 1, 3 do self["norm" .. i] = nn.LayerNorm { features = o.embed_dim } end
end

--- x (1, this rank's rows, features, embed) -> the same shape. What a step has inside is computed again in
-- backward instead of being kept.
function Block:forward(x, mask)
  x = mosaic.checkpoint(function(y) return self.norm1(y + self.between_features(y)) end, x)
  x = self.norm2(x + self.between_rows(x, { mask = mask }))
  return mosaic.checkpoint(function(y) return self.norm3(y + self.mlp(y)) end, x)
end

--- This rank's rows of a table of random cells, the same table on any number of ranks.
local function draw_rows(comm, o)
  local part = mosaic.partition.new { layout = "contiguous", rows = o.rows, ranks = comm.size }
  local first, _, count = unpack(part:pieces(comm.rank)[1])
  return mosaic.randn { 1, count, o.features, o.embed_dim,
    global = { shape = { 1, o.rows, o.features, o.embed_dim }, offset = { 1, first, 1, 1 } } }
end

--- Seconds and bytes sent by body(), and its result.
local function measured(comm, body)
  comm:barrier()
  local start, before = mosaic.clock(), comm:bytes_sent()
  local result = body()
  return result, mosaic.clock() - start, comm:bytes_sent() - before
end

--- A line per rank from its list of numbers, on rank 0.
local function report(comm, format, ...)
  local all = comm:all_gather(mosaic.tensor({ { ... } }, { dtype = "f64" }), 1)
  for rank = 0, comm.rank == 0 and comm.size - 1 or -1 do
    io.write(("rank %d: "):format(rank), format:format(unpack(all[rank + 1]:tolist())), "\n")
  end
end

local function main(o)
  local comm = mosaic.comm.world()
  mosaic.manual_seed(1)
  local block, mask = Block(o), o.train_rows > 0 and { prefix = o.train_rows } or nil
  local x = draw_rows(comm, o)
  mosaic.collect()
  mosaic.reset_peak_memory()
  local y, forward_time, forward_sent = measured(comm, function() return block(x, mask) end)
  local loss = (y - x):square():sum() / mosaic.total(y:numel())
  local _, backward_time, backward_sent = measured(comm, function()
    loss:backward()
    mosaic.sync_gradients(block)
  end)
  local mean, norm = mosaic.total(loss:item()), block.between_rows.in_proj_weight.grad:norm():item()
  report(comm, "%d rows; forward %.2f s, %.3f MB sent; backward %.2f s, %.3f MB sent; %.1f MB at most held",
    x:size(2), forward_time, forward_sent / 1e6, backward_time, backward_sent / 1e6,
    mosaic.memory().rank_peak_bytes / 1e6)
  if comm.rank == 0 then io.write(("loss %.6f, norm of a gradient %.6f\n"):format(mean, norm)) end
end

local o = options.parse("examples/rows_150000.lua", "Forward and backward of one block on a long table.",
  OPTIONS, arg)
if o then main(o) end
