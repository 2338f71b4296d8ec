--- Infini-attention along one axis of an N-D tensor; the axis may be sharded over ranks or come in pieces.
--
--   local layer = mosaic.InfiniAttention {
--     embed_dim = 96, num_heads = 4, axes = { "batch", "rows", "embed" }, attention_axis = "rows",
--     segment = 64, update = "delta",
--   }
--   y = layer:forward(x)                         -- whole, or this rank's contiguous rows
--   y, state = layer:forward(x, { state = {} })  -- the first piece; { state = state } for the next
--
-- Causal, and approximate beyond the segment: see infini.lua. Parameters: those of axis_attention.lua, and
-- beta (num_heads), the gate between memory and segment, 0 at the start: half of each.
local AxisAttention = require "mosaic.nn.axis_attention"
local check = require "mosaic.check"
local class = require "mosaic.class"
local infini_attention = require "mosaic.infini"
local initial = require "mosaic.nn.initial"
local memory = require "mosaic.infini.memory"
local numbers = require "mosaic.numbers"
local parameter = require "mosaic.nn.parameter"

local InfiniAttention = class("InfiniAttention", AxisAttention)

local OPTIONS = {
  "embed_dim", "num_heads", "num_kv_heads", "attention_axis", "axes", "segment", "update", "encode", "alibi",
  "bias", "comm", "scale", "dtype", "device", "generator",
}

--- options: embed_dim, num_heads, attention_axis (number, or a name in `axes`) and segment (rows) are
-- required. update ("linear"), encode, alibi, scale, comm (default: mosaic.init's sequence-parallel ranks):
-- as for mosaic.infini_attention; num_kv_heads (num_heads); bias (true); dtype, device, generator for the
-- parameters.
function InfiniAttention:init(options)
  check.options("InfiniAttention", options, OPTIONS)
  self:set_sizes(options)
  self.segment = check.integer("InfiniAttention", "segment", options.segment, 1)
  self.update = check.one_of("InfiniAttention", "update", options.update or "linear", memory.UPDATES)
  self.encode, self.alibi = options.encode, options.alibi
  numbers.scale("InfiniAttention", self.scale)
  self:make_parameters(options)
  self.beta = initial.zeros_(parameter(options, self.num_heads))
end

--- x (..., n, ..., embed_dim), sharded along the attended axis in contiguous pieces over the layer's
-- communicator. Returns the same shape, sharded the same way; with options.state ({}, or what an earlier
-- call returned) also the state after these rows.
function InfiniAttention:forward(x, options)
  options = check.options("InfiniAttention: forward", options or {}, { "state" })
  local q, k, v = self:project(x)
  local out, state = infini_attention(q, k, v, {
    segment = self.segment, update = self.update, beta = self.beta, scale = self.scale, comm = self.comm,
    encode = self.encode, alibi = self.alibi, state = options.state,
  })
  return self:finish(out, x), state
end

return InfiniAttention
