--- R-sharding: compute nodes own rows that are far apart, and a report says what every node could tell.
--   mosaic-lua --virtual 4 examples/rshard.lua
-- Started on one rank it runs on as many virtual ones as there are compute nodes. Attention node (j,l) sees
-- queries of set j and keys and values of set l: with j = l rows that are a period apart, else rows of two
-- sets, which for some j and l follow each other. Dense attention cannot do without: somebody multiplies the
-- query of row i + 1 with the key of row i. A rank that is several nodes sees what all of them see:
-- mosaic.rshard.report(sets, { ranks = 4 }).
package.path = (arg[0]:match "^(.*/)[^/]*$" or "") .. "?.lua;" .. package.path
local mosaic = require "mosaic"
local compare = require "support.compare"
local fail = require "support.fail"
local options = require "support.options"
local ranks = require "support.ranks"

local o = options.parse("examples/rshard.lua", "Checks R-sharded attention and reports what its nodes see.", {
  { "rows", 301, "rows of the sequence", integer = 1 },
  { "cluster", 1, "rows in a row that a compute node owns", integer = 1 },
  { "period", 4, "of the dealing, in rows", integer = 1 },
  { "group", 1, "compute nodes that a set of the attention nodes is taken from", integer = 1 },
}, arg)

local function main(sets)
  local world = mosaic.comm.world()
  if #sets.compute > world.size then
    fail("%d compute nodes need as many ranks, not %d", #sets.compute, world.size)
  end
  if world.rank == 0 then print(mosaic.rshard.report(sets)) end
  compare("rshard", mosaic.MultiAxisAttention {
    embed_dim = 32, num_heads = 4, attention_axis = -2, causal = true, generator = mosaic.generator(1),
    backend = { "rshard", attention = sets.attention }, indices = sets:indices(world.size),
  }, o.rows)
end

if o then
  local sets = mosaic.rshard.sets { rows = o.rows, cluster = o.cluster, period = o.period, group = o.group }
  ranks(#sets.compute, function() main(sets) end)
end
