--- Multi-head attention from the positions along one axis to those along another, of one tensor or two.
--
--   local layer = mosaic.CrossAxisAttention {
--     embed_dim = 96, num_heads = 4, axes = { "batch", "rows", "features", "embed" },
--     q_axis = "rows", kv_axis = "features", backend = "ring",
--   }
--   y = layer:forward(x)           -- each row over the features: x[b, i, j] sees x[b, i, t] for all t
--   y = layer:forward(x, context)  -- x[.., i, ..] sees context[.., t, ..] for all t; i along q_axis of x,
--                                  -- t along kv_axis of context
--
-- With a context, what is left of x without q_axis and of the context without kv_axis has the same sizes, in
-- order, and is batch. Masks: queries count along q_axis, keys along kv_axis. Without one, x[b, i, j] is
-- query j: it counts along kv_axis, where its keys are, and every axis but that is batch.
-- Sharding: kv_axis over the layer's ranks (backend, layout, comm), with a context also q_axis, over the same
-- ranks; without one q_axis may be sharded over any others: `comm` is that of kv_axis alone. A context that
-- every rank has whole is cut first (mosaic.shard), or is for backend "local" and masks without positions.
local attend = require "mosaic.attend"
local AxisAttention = require "mosaic.nn.axis_attention"
local check = require "mosaic.check"
local class = require "mosaic.class"
local strategy = require "mosaic.strategy"
local Tensor = require "mosaic.tensor"

local CrossAxisAttention = class("CrossAxisAttention", AxisAttention)

local OPTIONS = {
  "embed_dim", "num_heads", "num_kv_heads", "q_axis", "kv_axis", "axes", "context_axes", "backend", "causal",
  "bias", "layout", "indices", "comm", "scale", "wire", "dropout", "dtype", "device", "generator",
}

--- options: embed_dim, num_heads, q_axis and kv_axis (numbers, or names in `axes`) are required.
-- context_axes: the names of a context's axes, of which kv_axis then is one (default: axes); indices: a list
-- per rank, or { q = lists, k = lists } with a context; the others as for MultiAxisAttention.
function CrossAxisAttention:init(options)
  local where = self.class_name
  check.options(where, options, OPTIONS)
  self:set_sizes(options, { "q_axis" })
  self.context_axes = options.context_axes or options.axes
  self.kv_axis = AxisAttention.axis_number(where, "kv_axis", options.kv_axis, self.context_axes)
  self:set_causal(options)
  self:set_dropout(options)
  self.backend = options.backend or "local"
  strategy.get(self.backend)
  self.layout, self.indices, self.wire = options.layout, options.indices, options.wire
  self:make_parameters(options)
end

--- x within itself: q, k, v (before, after, heads, n, d) along kv_axis.
local function project_own(layer, x)
  local where = layer.class_name
  if layer.context_axes ~= layer.axes then
    check.fail("%s: kv_axis is one of context_axes {%s}: forward needs a context", where,
      table.concat(layer.context_axes, ", "))
  elseif layer:axis_in(x, "q_axis", layer.axes) == layer:axis_in(x, "kv_axis", layer.axes) then
    check.fail("%s: q_axis and kv_axis are both axis %d of %s", where,
      layer:axis_in(x, "kv_axis", layer.axes), x:describe())
  end
  return layer:project(x, "kv_axis")
end

--- x's sizes before and after an axis, and all of them but that one, as text.
local function split_at(x, axis)
  local before, after, shape = 1, 1, x.shape
  for i = 1, axis - 1 do before = before * shape[i] end
  for i = axis + 1, #shape - 1 do after = after * shape[i] end
  local n = table.remove(shape, axis)
  return before, after, n, table.concat(shape, ",")
end

--- (before, after, ...) -> (1, before after, ...): how tensors with axes in different places meet.
local function one_batch(t) return t:flatten(1, 2):unsqueeze(1) end

--- q (1, batch, heads, nq, d) of x, k and v (1, batch, kv heads, nk, d) of the context.
local function project_pair(layer, x, context)
  local q_axis = layer:axis_in(x, "q_axis", layer.axes)
  local kv_axis = layer:axis_in(context, "kv_axis", layer.context_axes)
  local q_before, q_after, nq, q_rest = split_at(x, q_axis)
  local k_before, k_after, nk, k_rest = split_at(context, kv_axis)
  if q_rest ~= k_rest then
    check.fail("%s: x %s without axis %d and context %s without axis %d differ", layer.class_name,
      x:describe(), q_axis, context:describe(), kv_axis)
  end
  local heads, kv_heads = layer.num_heads, layer.num_kv_heads
  local q = one_batch(layer:heads(x, 1, heads, q_before, nq, q_after))
  local kv = one_batch(layer:heads(context, heads + 1, heads + 2 * kv_heads, k_before, nk, k_after))
  local k, v = unpack(kv:split({ kv_heads, kv_heads }, 3)) -- last: their gradients lie where they are put
  return q, k, v, { q_before, q_after, heads, nq, layer.head_size }
end

--- x (..., embed_dim), and a context or none; see the top of this file. Returns x's shape, sharded as x is.
-- options.mask: as for mosaic.attend.
function CrossAxisAttention:forward(x, context, options)
  if options == nil and not Tensor.is(context) then context, options = nil, context end
  options = check.options(self.class_name .. ": forward", options or {}, { "mask" })
  local q, k, v, shape
  if context then q, k, v, shape = project_pair(self, x, context) else q, k, v = project_own(self, x) end
  local out = attend(q, k, v, {
    strategy = self.backend, comm = self.comm, layout = self.layout, indices = self.indices,
    mask = self:mask_of(options), scale = self.scale, wire = self.wire, dropout = self:dropout_of_call(),
  })
  return self:finish(shape and out:reshape(shape) or out, x)
end

return CrossAxisAttention
