--- Multi-head attention along one axis of an N-D tensor; the axis may be sharded over ranks.
--
--   local rows = mosaic.MultiAxisAttention {
--     embed_dim = 96, num_heads = 4, axes = { "batch", "rows", "features", "embed" },
--     attention_axis = "rows", backend = "ring",
--   }
--   y = rows:forward(x, { mask = { prefix = T } })
--
-- The other axes are batch axes: they are neither permuted nor copied. Parameters: see axis_attention.lua.
-- backend = "switch" with switch_axis = "features": x, sharded along the attended axis, becomes sharded along
-- switch_axis (mosaic.switch), whole rows are attended to, and the result goes back, or with `stay = true`
-- remains sharded along switch_axis, in the layer's layout (contiguous for indices). So two layers that
-- attend along two axes in turn, each switching to the other's and staying, need one switch each. A layer
-- whose axis is not the sharded one needs no backend at all.
local attend = require "mosaic.attend"
local AxisAttention = require "mosaic.nn.axis_attention"
local check = require "mosaic.check"
local class = require "mosaic.class"
local context = require "mosaic.context"
local KVCache = require "mosaic.kv_cache"
local strategy = require "mosaic.strategy"
local switched = require "mosaic.nn.switched"

local MultiAxisAttention = class("MultiAxisAttention", AxisAttention)

local OPTIONS = {
  "embed_dim", "num_heads", "num_kv_heads", "attention_axis", "axes", "backend", "causal", "bias",
  "layout", "indices", "comm", "scale", "wire", "dropout", "dtype", "device", "generator", "switch_axis",
  "stay",
}

local CACHE_OPTIONS = { "batch", "comm", "capacity", "dtype", "layout", "block_size", "mask" }

--- The backend is a strategy, or "switch" with its axis.
local function check_backend(self, options)
  local where = self.class_name
  if self.backend ~= "switch" then
    strategy.get(self.backend)
    for _, name in ipairs { "switch_axis", "stay" } do
      if options[name] ~= nil then check.fail("%s: %s is for backend 'switch'", where, name) end
    end
  elseif not options.switch_axis then
    check.fail("%s: backend 'switch' needs switch_axis, the axis to be sharded meanwhile", where)
  end
  self.stay = check.option(where, options, "stay", "boolean", false)
end

--- The local backend would leave out the other ranks' rows without a word.
local function check_comm(self)
  if self.comm == nil or strategy.name_of(self.backend) ~= "local" then return end
  local ranks = context.comm(self.class_name, self.comm).size
  if ranks > 1 then
    check.fail("%s: backend 'local' (the default) attends to one rank's rows, comm has %d ranks: name a "
      .. "backend that works across them ('ring', 'gather', ...), or leave comm out", self.class_name, ranks)
  end
end

--- options: embed_dim, num_heads and attention_axis (number, or a name in `axes`) are required.
-- backend: a strategy's name, function or table (default "local"), or "switch" with switch_axis and stay
-- (false); layout, indices, comm: how the axis is sharded (defaults: mosaic.init's); wire: the format that
-- keys and values travel in (mosaic.wire); causal; dropout (0) of probabilities while training, the same on
-- any number of ranks whose default generators were seeded alike; bias (true); num_kv_heads (num_heads);
-- scale (1/sqrt(d)); dtype, device, generator for the parameters.
function MultiAxisAttention:init(options)
  check.options(self.class_name, options, OPTIONS)
  self:set_sizes(options)
  self:set_causal(options)
  self:set_dropout(options)
  self.backend = options.backend or "local"
  check_backend(self, options)
  check_comm(self)
  self.layout, self.indices, self.wire = options.layout, options.indices, options.wire
  self:make_parameters(options)
end

--- A K/V cache for this layer's keys and values. options: batch (the product of all other axes), mask
-- (as in forward; the layer's own is added), comm, capacity, dtype, layout, block_size: see mosaic.KVCache.
function MultiAxisAttention:kv_cache(options)
  local settings = {
    comm = self.comm, dtype = self.in_proj_weight.dtype, device = self.in_proj_weight.device,
  }
  for name, value in pairs(check.options(self.class_name .. ": kv_cache", options or {}, CACHE_OPTIONS)) do
    settings[name] = value
  end
  settings.kv_heads, settings.head_size, settings.scale = self.num_kv_heads, self.head_size, self.scale
  settings.mask = self:mask_of(settings)
  return KVCache(settings)
end

--- Adds the keys and values of the newest rows to a cache and attends with their queries;
-- q, k, v (before, after, heads, n, d).
local function decode(layer, q, k, v, options)
  if options.mask then check.fail("%s: forward: the mask of a cache is its own", layer.class_name) end
  if layer.training and layer.dropout > 0 then
    check.fail("%s: forward: a cache knows no dropout; call eval() first", layer.class_name)
  end
  local cache, shape = options.cache, q.shape
  local function flat(t) return t:flatten(1, 2):to(cache.dtype) end
  cache:append(flat(k), flat(v),
    options.sharded and { sharded = true, layout = layer.layout, indices = layer.indices })
  return (cache:attend(flat(q), { sharded = options.sharded })):view(shape)
end

--- The layer on x with all rows of the attended axis, or this rank's with a sharded backend.
local function along(layer, x, mask, options)
  local q, k, v = layer:project(x)
  options.mask, options.scale, options.wire = mask, layer.scale, layer.wire
  return layer:finish((attend(q, k, v, options)), x)
end

--- x (..., n, ..., embed_dim), sharded along the attended axis over the layer's communicator when
-- the backend is a sharded one. Returns the same shape, sharded the same way.
-- options.mask: see mosaic.sdpa; positions and lengths are those of the whole axis.
-- options.cache: what self:kv_cache{} gave; x holds the newest rows alone, which join it, whole on every
-- rank or, with `sharded`, this rank's (a long prompt).
function MultiAxisAttention:forward(x, options)
  options = check.options(self.class_name .. ": forward", options or {}, { "mask", "cache", "sharded" })
  if options.cache then
    local q, k, v = self:project(x)
    return self:finish(decode(self, q, k, v, options), x)
  elseif self.backend == "switch" then
    local dropout = self:dropout_of_call()
    return switched(self, x, self:mask_of(options), dropout, function(whole, mask, place)
      place.strategy, place.dropout = "local", dropout
      return along(self, whole, mask, place)
    end)
  end
  return along(self, x, self:mask_of(options), {
    strategy = self.backend, comm = self.comm, layout = self.layout, indices = self.indices,
    dropout = self:dropout_of_call(),
  })
end

return MultiAxisAttention
