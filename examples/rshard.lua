--- R-sharding: rows dealt so that no rank sees neighbouring ones, and what each could still tell.
--   mosaic-lua --virtual 4 examples/rshard.lua
package.path = (arg[0]:match "^(.*/)[^/]*$" or "") .. "?.lua;" .. package.path
local mosaic = require "mosaic"
local compare = require "support.compare"
local fail = require "support.fail"
local options = require "support.options"

local o = options.parse("examples/rshard.lua", "Checks R-sharded attention and reports what its nodes see.", {
  { "rows", 301, "rows of the sequence", integer = 1 },
  { "cluster", 1, "rows in a row that a compute node owns", integer = 1 },
  { "period", 4, "of the dealing, in rows", integer = 1 },
  { "group", 2, "compute nodes that a set of the attention nodes is taken from", integer = 1 },
}, arg)

if o then
  local world = mosaic.comm.world()
  local sets = mosaic.rshard.sets { rows = o.rows, cluster = o.cluster, period = o.period, group = o.group }
  if #sets.compute > world.size then
    fail("%d compute nodes need as many ranks, not %d", #sets.compute, world.size)
  end
  if world.rank == 0 then print(mosaic.rshard.report(sets)) end
  compare("rshard", mosaic.MultiAxisAttention {
    embed_dim = 32, num_heads = 4, attention_axis = -2, causal = true, generator = mosaic.generator(1),
    backend = { "rshard", attention = sets.attention }, indices = sets:indices(world.size),
  }, o.rows)
end
