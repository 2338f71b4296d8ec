--- Attention over a mesh of ranks: the heads shared along one axis of it, the sequence along the other.
--
--   local layer = mosaic.ComposedAttention {
--     embed_dim = 96, num_heads = 4, axes = { "batch", "rows", "embed" }, attention_axis = "rows",
--     mesh_shape = { 2, 4 }, head_parallel = true, seq_parallel = "ring",
--   }
--
-- A MultiAxisAttention on the strategy "composed", whose options these are (strategy/composed.lua): each
-- rank brings its rows and gets them back.
local check = require "mosaic.check"
local class = require "mosaic.class"
local MultiAxisAttention = require "mosaic.nn.multi_axis_attention"
local strategy_options = require "mosaic.nn.strategy_options"

local ComposedAttention = class("ComposedAttention", MultiAxisAttention)

--- options: embed_dim and num_heads are required; attention_axis (-2); mesh_shape (the most square one),
-- head_axis, head_parallel (true), seq_parallel ("ring"): of the strategy; the others as for
-- MultiAxisAttention.
function ComposedAttention:init(options)
  local settings = strategy_options(self, options, "composed", { "seq_parallel" })
  check.option(self.class_name, options, "head_parallel", "boolean", true)
  MultiAxisAttention.init(self, settings)
end

return ComposedAttention
