--- Multi-head attention along one axis of an N-D tensor; the axis may be sharded over ranks.
--
--   local rows = mosaic.MultiAxisAttention {
--     embed_dim = 96, num_heads = 4, axes = { "batch", "rows", "features", "embed" },
--     attention_axis = "rows", backend = "ring",
--   }
--   y = rows:forward(x, { mask = { prefix = T } })
--
-- The other axes are batch axes: they are neither permuted nor copied. Parameters are named and
-- packed as in torch.nn.MultiheadAttention: in_proj_weight (E + 2 E_kv, E) holds [Q; K; V], heads
-- are contiguous slices of d = E / num_heads channels.
local attend = require "mosaic.attend"
local check = require "mosaic.check"
local class = require "mosaic.class"
local context = require "mosaic.context"
local initial = require "mosaic.nn.initial"
local KVCache = require "mosaic.kv_cache"
local linear = require "mosaic.tensor.matmul".linear
local Linear = require "mosaic.nn.linear"
local Module = require "mosaic.nn.module"
local operand = require "mosaic.tensor.operand"
local parameter = require "mosaic.nn.parameter"
local strategy = require "mosaic.strategy"

local MultiAxisAttention = class("MultiAxisAttention", Module)

local OPTIONS = {
  "embed_dim", "num_heads", "num_kv_heads", "attention_axis", "axes", "backend", "causal", "bias",
  "layout", "indices", "comm", "scale", "wire", "dtype", "device", "generator",
}

local CACHE_OPTIONS = { "batch", "comm", "capacity", "dtype", "layout", "block_size", "mask" }

--- The attended axis as a number, from a number or one of the names in `axes`.
local function axis_number(axis, axes)
  if axis == 0 then check.axis("MultiAxisAttention", axis, 1) end
  if type(axis) ~= "string" then return check.integer("MultiAxisAttention", "attention_axis", axis) end
  if not axes then check.fail("MultiAxisAttention: attention_axis '%s' needs axes = {names}", axis) end
  check.one_of("MultiAxisAttention", "attention_axis", axis, axes)
  for i, name in ipairs(axes) do
    if name == axis then return i end
  end
end

local function check_heads(embed_dim, heads, kv_heads)
  if embed_dim % heads ~= 0 then
    check.fail("MultiAxisAttention: embed_dim %d is not divisible by num_heads %d", embed_dim, heads)
  elseif heads % kv_heads ~= 0 then
    check.fail("MultiAxisAttention: num_heads %d is not divisible by num_kv_heads %d", heads, kv_heads)
  end
end

local function positive(options, name, default)
  local value = options[name] == nil and default or options[name]
  return check.integer("MultiAxisAttention", name, value, 1)
end

--- options: embed_dim, num_heads and attention_axis (number, or a name in `axes`) are required.
-- backend: a strategy's name or function (default "local"); layout, indices, comm: how the axis is
-- sharded (defaults: mosaic.init's); wire: the format that keys and values travel in (mosaic.wire);
-- causal; bias (true); num_kv_heads (num_heads); scale (1/sqrt(d)); dtype, device, generator for the
-- parameters.
function MultiAxisAttention:init(options)
  check.options("MultiAxisAttention", options, OPTIONS)
  self.embed_dim, self.num_heads = positive(options, "embed_dim"), positive(options, "num_heads")
  self.num_kv_heads = positive(options, "num_kv_heads", self.num_heads)
  check_heads(self.embed_dim, self.num_heads, self.num_kv_heads)
  self.head_size = self.embed_dim / self.num_heads
  self.axes, self.attention_axis = options.axes, axis_number(options.attention_axis, options.axes)
  self.backend, self.causal = options.backend or "local", options.causal or false
  strategy.get(self.backend)
  if type(self.causal) ~= "boolean" then
    check.fail("MultiAxisAttention: causal must be true or false, got %s", check.show(self.causal))
  end
  self.layout, self.indices, self.comm = options.layout, options.indices, options.comm
  self.scale, self.wire = options.scale, options.wire
  self:make_parameters(options)
end

function MultiAxisAttention:make_parameters(options)
  local rows = (self.num_heads + 2 * self.num_kv_heads) * self.head_size
  self.in_proj_weight = parameter(options, rows, self.embed_dim)
  initial.xavier_uniform_(self.in_proj_weight, { generator = options.generator })
  self.out_proj = Linear {
    in_features = self.embed_dim, out_features = self.embed_dim, bias = options.bias,
    dtype = options.dtype, device = options.device, generator = options.generator,
  }
  if options.bias == false then return end
  self.in_proj_bias = initial.zeros_(parameter(options, rows))
  initial.zeros_(self.out_proj.bias)
end

--- x as (before, n, after, embed): every N-D tensor is that, seen from one axis.
function MultiAxisAttention:fold(x)
  operand("MultiAxisAttention", "the input", x)
  local shape = x.shape
  if self.axes and #self.axes ~= #shape then
    check.fail("MultiAxisAttention: %s has not the axes {%s}", x:describe(), table.concat(self.axes, ", "))
  end
  local axis = check.axis("MultiAxisAttention", self.attention_axis, #shape) + 1
  if axis == #shape then
    check.fail("MultiAxisAttention: attention_axis %d of %s is the embedding", axis, x:describe())
  elseif shape[#shape] ~= self.embed_dim then
    check.fail("MultiAxisAttention: the last axis of %s is not embed_dim %d", x:describe(), self.embed_dim)
  end
  local before, after = 1, 1
  for i = 1, axis - 1 do before = before * shape[i] end
  for i = axis + 1, #shape - 1 do after = after * shape[i] end
  return before, shape[axis], after
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
  local before, n, after = self:fold(x)
  local heads, kv_heads = self.num_heads, self.num_kv_heads
  local packed = linear(x, self.in_proj_weight, self.in_proj_bias)
    :view(before, n, after, heads + 2 * kv_heads, self.head_size)
    :permute(1, 3, 4, 2, 5) -- (before, after, heads, n, d): still a view
  local q, k, v = unpack(packed:split({ heads, kv_heads, kv_heads }, 3))
  local out = options.cache and decode(self, q, k, v, options) or attend(q, k, v, {
    strategy = self.backend, comm = self.comm, layout = self.layout, indices = self.indices,
    mask = self:mask_of(options), scale = self.scale, wire = self.wire,
  })
  return self.out_proj:forward(out:to(x.dtype):permute(1, 4, 2, 3, 5):reshape(x.shape))
end

return MultiAxisAttention
