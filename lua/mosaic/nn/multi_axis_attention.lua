--- Multi-head attention along one axis of an N-D tensor; the axis may be sharded over ranks.
--
--   local rows = mosaic.MultiAxisAttention {
--     embed_dim = 96, num_heads = 4, axes = { "batch", "rows", "features", "embed" },
--     attention_axis = "rows", backend = "ring",
--   }
--   y = rows:forward(x, { mask = { prefix = T } })
--
-- The other axes are batch axes: they are neither permuted nor copied. Parameters: see axis_attention.lua.
local attend = require "mosaic.attend"
local AxisAttention = require "mosaic.nn.axis_attention"
local check = require "mosaic.check"
local class = require "mosaic.class"
local context = require "mosaic.context"
local KVCache = require "mosaic.kv_cache"
local strategy = require "mosaic.strategy"

local MultiAxisAttention = class("MultiAxisAttention", AxisAttention)

local OPTIONS = {
  "embed_dim", "num_heads", "num_kv_heads", "attention_axis", "axes", "backend", "causal", "bias",
  "layout", "indices", "comm", "scale", "wire", "dtype", "device", "generator",
}

local CACHE_OPTIONS = { "batch", "comm", "capacity", "dtype", "layout", "block_size", "mask" }

--- options: embed_dim, num_heads and attention_axis (number, or a name in `axes`) are required.
-- backend: a strategy's name or function (default "local"); layout, indices, comm: how the axis is
-- sharded (defaults: mosaic.init's); wire: the format that keys and values travel in (mosaic.wire);
-- causal; bias (true); num_kv_heads (num_heads); scale (1/sqrt(d)); dtype, device, generator for the
-- parameters.
function MultiAxisAttention:init(options)
  check.options("MultiAxisAttention", options, OPTIONS)
  self:set_sizes(options)
  self.backend, self.causal = options.backend or "local", options.causal or false
  strategy.get(self.backend)
  if type(self.causal) ~= "boolean" then
    check.fail("MultiAxisAttention: causal must be true or false, got %s", check.show(self.causal))
  end
  self.layout, self.indices, self.wire = options.layout, options.indices, options.wire
  self:make_parameters(options)
end

--- The mask of this call: the layer's own and the caller's.
function MultiAxisAttention:mask_of(options)
  local mask = {}
  for name, value in pairs(options.mask or {}) do mask[name] = value end
  if self.causal then mask.causal = true end
  return mask
end

--- A K/V cache for this layer's keys and values. options: batch (the product of all other axes), mask
-- (as in forward; the layer's own is added), comm, capacity, dtype, layout, block_size: see mosaic.KVCache.
function MultiAxisAttention:kv_cache(options)
  local settings = {
    comm = self.comm, dtype = self.in_proj_weight.dtype, device = self.in_proj_weight.device,
  }
  for name, value in pairs(check.options("MultiAxisAttention: kv_cache", options or {}, CACHE_OPTIONS)) do
    settings[name] = value
  end
  settings.kv_heads, settings.head_size, settings.scale = self.num_kv_heads, self.head_size, self.scale
  settings.mask = self:mask_of(settings)
  return KVCache(settings)
end

--- Adds the keys and values of the newest rows to a cache and attends with their queries;
-- q, k, v (before, after, heads, n, d).
local function decode(layer, q, k, v, options)
  if options.mask then check.fail "MultiAxisAttention: forward: the mask of a cache is its own" end
  local cache, shape = options.cache, q.shape
  local function flat(t) return t:flatten(1, 2):to(cache.dtype) end
  cache:append(flat(k), flat(v), options.sharded and {
    sharded = true, indices = layer.indices,
    layout = layer.layout or not layer.indices and context.current().layout or nil,
  })
  return (cache:attend(flat(q), { sharded = options.sharded })):view(shape)
end

--- x (..., n, ..., embed_dim), sharded along the attended axis over the layer's communicator when
-- the backend is a sharded one. Returns the same shape, sharded the same way.
-- options.mask: see mosaic.sdpa; positions and lengths are those of the whole axis.
-- options.cache: what self:kv_cache{} gave; x holds the newest rows alone, which join it, whole on every
-- rank or, with `sharded`, this rank's (a long prompt).
function MultiAxisAttention:forward(x, options)
  options = check.options("MultiAxisAttention: forward", options or {}, { "mask", "cache", "sharded" })
  local q, k, v = self:project(x)
  local out = options.cache and decode(self, q, k, v, options) or attend(q, k, v, {
    strategy = self.backend, comm = self.comm, layout = self.layout, indices = self.indices,
    mask = self:mask_of(options), scale = self.scale, wire = self.wire,
  })
  return self:finish(out, x)
end

return MultiAxisAttention
