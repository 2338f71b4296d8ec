--- Attention over nodes of ranks: every key crosses once between two nodes, fast links spread it inside.
--
--   local layer = mosaic.HierarchicalAttention {
--     embed_dim = 96, num_heads = 4, axes = { "batch", "rows", "embed" }, attention_axis = "rows",
--     intra_node_size = 8, intra_node_strategy = "local", inter_node_strategy = "ring",
--   }
--
-- A MultiAxisAttention on the strategy "hierarchical", whose options these are (strategy/hierarchical.lua):
-- each rank brings its rows and gets them back.
local class = require "mosaic.class"
local MultiAxisAttention = require "mosaic.nn.multi_axis_attention"
local strategy_options = require "mosaic.nn.strategy_options"

local HierarchicalAttention = class("HierarchicalAttention", MultiAxisAttention)

--- options: embed_dim and num_heads are required; attention_axis (-2); intra_node_size or nodes (detected),
-- probe, intra_node_strategy ("local"), inter_node_strategy ("ring"): of the strategy; the others as for
-- MultiAxisAttention.
function HierarchicalAttention:init(options)
  MultiAxisAttention.init(self,
    strategy_options(self, options, "hierarchical", { "intra_node_strategy", "inter_node_strategy" }))
end

return HierarchicalAttention
