--- The simplest model that attends along two axes of one tensor: over the features of a row here, over the
-- rows of a feature across all ranks. It learns to add the mean of a cell's column to the mean of its row:
--   mosaic-lua --virtual 4 examples/two_axes.lua [--steps 60]
package.path = (arg[0]:match "^(.*/)[^/]*$" or "") .. "?.lua;" .. package.path
local mosaic = require "mosaic"
local options = require "support.options"
local nn = mosaic.nn

local o = options.parse("examples/two_axes.lua", "Learns sums of the means along two axes.", {
  { "steps", 60, "training steps", integer = 1 },
}, arg)
if not o then return end

mosaic.init {} -- all ranks share every table's rows
mosaic.manual_seed(1) -- the same weights and tables on every rank

local function attention(axis, backend)
  return mosaic.MultiAxisAttention {
    embed_dim = 16, num_heads = 2, axes = { "batch", "rows", "features", "embed" }, attention_axis = axis,
    backend = backend,
  }
end

local Model = mosaic.class("Model", nn.Module)

function Model:init()
  self.encode = nn.Linear { in_features = 1, out_features = 16 }
  self.along_features, self.along_rows = attention("features", "local"), attention("rows", "ring")
  self.decode = nn.Linear { in_features = 16, out_features = 1 }
end

--- x (batch, this rank's rows, features) -> the same shape
function Model:forward(x)
  local y = self.encode(x:unsqueeze(-1))
  y = y + self.along_features(y)
  y = y + self.along_rows(y)
  return self.decode(y):squeeze(-1)
end

local model, rank = Model(), mosaic.comm.world().rank
local optimizer = mosaic.optim.AdamW { params = model:parameters(), lr = 0.01 }
for step = 1, o.steps do
  local x = mosaic.randn { 8, 101, 5 } + mosaic.randn { 8, 101, 1 } + mosaic.randn { 8, 1, 5 }
  local target = x:mean(2, true) + x:mean(3, true)
  local mine = mosaic.shard(x, { axis = 2 })
  local wrong = model(mine) - mosaic.shard(target, { axis = 2 })
  local loss = wrong:square():sum() / mosaic.total(wrong:numel()) -- this rank's part of the mean
  loss:backward()
  mosaic.sync_gradients(model)
  optimizer:step()
  optimizer:zero_grad()
  local mean = mosaic.total(loss:item())
  if rank == 0 and step % 10 == 0 then print(("step %d: loss %.4f"):format(step, mean)) end
end
