--- Heads x sequence on a 2 x 2 mesh of ranks, beside a ring of all four: the same result and gradients.
--   mosaic-lua --virtual 4 examples/composed_2x2.lua
-- Started on one rank it runs on four virtual ones.
package.path = (arg[0]:match "^(.*/)[^/]*$" or "") .. "?.lua;" .. package.path
local mosaic = require "mosaic"
local compare = require "support.compare"
local fail = require "support.fail"
local options = require "support.options"
local ranks = require "support.ranks"

local o = options.parse("examples/composed_2x2.lua", "Checks composed attention on a 2 x 2 mesh.", {
  { "rows", 301, "rows of the sequence", integer = 1 },
  { "seq-parallel", "ring", "strategy along the sequence" },
}, arg)

local function main()
  local world = mosaic.comm.world()
  if world.size ~= 4 then fail("a mesh of 2 x 2 needs 4 ranks, not %d: --virtual 4", world.size) end
  local layers = {
    ["2 x 2"] = mosaic.ComposedAttention {
      embed_dim = 32, num_heads = 4, mesh_shape = { 2, 2 }, head_parallel = true,
      seq_parallel = o.seq_parallel, causal = true, layout = "zigzag", generator = mosaic.generator(1),
    },
    ring = mosaic.MultiAxisAttention {
      embed_dim = 32, num_heads = 4, attention_axis = -2, backend = "ring", causal = true, layout = "zigzag",
      generator = mosaic.generator(1),
    },
  }
  for _, name in ipairs { "2 x 2", "ring" } do compare(name, layers[name], o.rows) end
end

if o then ranks(4, main) end
