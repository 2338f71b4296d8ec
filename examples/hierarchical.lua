--- Two nodes of ranks, given explicitly: every key crosses the slow link once, whatever goes on inside.
--   mosaic-lua --virtual 4 examples/hierarchical.lua
-- Started on one rank it runs on four virtual ones.
package.path = (arg[0]:match "^(.*/)[^/]*$" or "") .. "?.lua;" .. package.path
local mosaic = require "mosaic"
local compare = require "support.compare"
local options = require "support.options"
local ranks = require "support.ranks"

local o = options.parse("examples/hierarchical.lua", "Checks attention over two nodes of ranks.", {
  { "rows", 301, "rows of the sequence", integer = 1 },
}, arg)

--- Bytes that this rank sent to ranks of the other node.
local function slow_bytes(comm)
  local sum = 0
  for _, levels in pairs(comm.hierarchies) do sum = sum + levels[2]:counters("sendrecv").bytes_sent end
  return mosaic.total(sum)
end

local function main()
  local world = mosaic.comm.world()
  local nodes = { {}, {} }
  for rank = 0, world.size - 1 do table.insert(nodes[rank < world.size / 2 and 1 or 2], rank) end
  for _, inside in ipairs { "local", "ring", "heads" } do
    world.hierarchies = nil
    compare(inside .. " inside", mosaic.HierarchicalAttention {
      embed_dim = 32, num_heads = 4, nodes = nodes,
      intra_node_strategy = inside, inter_node_strategy = "ring",
      comm = world, layout = "striped", generator = mosaic.generator(1),
    }, o.rows)
    local sent = slow_bytes(world)
    if world.rank == 0 then print(("  of these over the slow link: %d"):format(sent)) end
  end
end

if o then ranks(4, main) end
