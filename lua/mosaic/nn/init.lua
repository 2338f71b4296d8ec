--- Layers: `local nn = mosaic.nn`, then nn.Linear { in_features = 96, out_features = 2 } and the like.
local loss = require "mosaic.nn.loss"
local norm = require "mosaic.nn.norm"
local sequential = require "mosaic.nn.sequential"

local nn = {
  Module = require "mosaic.nn.module",
  parameter = require "mosaic.nn.parameter",
  initial = require "mosaic.nn.initial",
  Linear = require "mosaic.nn.linear",
  LayerNorm = norm.LayerNorm, RMSNorm = norm.RMSNorm,
  Embedding = require "mosaic.nn.embedding",
  Dropout = require "mosaic.nn.dropout",
  MultiAxisAttention = require "mosaic.nn.multi_axis_attention",
  MultiAxisAttention2D = require "mosaic.nn.multi_axis_attention_2d",
  CrossAxisAttention = require "mosaic.nn.cross_axis_attention",
  ComposedAttention = require "mosaic.nn.composed_attention",
  HierarchicalAttention = require "mosaic.nn.hierarchical_attention",
  InfiniAttention = require "mosaic.nn.infini_attention",
  Sequential = sequential.Sequential, MLP = sequential.MLP,
  cross_entropy = loss.cross_entropy, mse_loss = loss.mse_loss,
}

for name, Activation in pairs(require "mosaic.nn.activation") do nn[name] = Activation end

return nn
