--- What attention layers along axes of an N-D tensor have in common: sizes, the axes, projections.
--
-- A layer's init calls set_sizes and make_parameters, its forward project (or what that is made of), then
-- what it computes with q, k and v, then finish. Parameters are named and packed as in
-- torch.nn.MultiheadAttention: in_proj_weight (E + 2 E_kv, E) holds [Q; K; V], heads are contiguous slices
-- of d = E / num_heads channels.
local check = require "mosaic.check"
local class = require "mosaic.class"
local initial = require "mosaic.nn.initial"
local linear = require "mosaic.tensor.matmul".linear
local Linear = require "mosaic.nn.linear"
local Module = require "mosaic.nn.module"
local operand = require "mosaic.tensor.operand"
local parameter = require "mosaic.nn.parameter"
local random = require "mosaic.tensor.random"

local AxisAttention = class("AxisAttention", Module)

--- An axis, option `name`, as a number, from a number or one of the names in `axes`.
function AxisAttention.axis_number(where, name, axis, axes)
  if axis == 0 then check.axis(where, axis, 1) end
  if type(axis) ~= "string" then return check.integer(where, name, axis) end
  if not axes then check.fail("%s: %s '%s' needs axes = {names}", where, name, axis) end
  check.one_of(where, name, axis, axes)
  for i, known in ipairs(axes) do
    if known == axis then return i end
  end
end

local function check_heads(where, embed_dim, heads, kv_heads)
  if embed_dim % heads ~= 0 then
    check.fail("%s: embed_dim %d is not divisible by num_heads %d", where, embed_dim, heads)
  elseif heads % kv_heads ~= 0 then
    check.fail("%s: num_heads %d is not divisible by num_kv_heads %d", where, heads, kv_heads)
  end
end

local function positive(where, options, name, default)
  local value = options[name] == nil and default or options[name]
  return check.integer(where, name, value, 1)
end

--- Reads embed_dim, num_heads, num_kv_heads (num_heads), axes, comm and scale, and the axes (a number, or a
-- name in `axes`) that the options in `names` say, by default attention_axis; switch_axis where there is one.
function AxisAttention:set_sizes(options, names)
  local where = self.class_name
  self.embed_dim = positive(where, options, "embed_dim")
  self.num_heads = positive(where, options, "num_heads")
  self.num_kv_heads = positive(where, options, "num_kv_heads", self.num_heads)
  check_heads(where, self.embed_dim, self.num_heads, self.num_kv_heads)
  self.head_size = self.embed_dim / self.num_heads
  self.axes = options.axes
  for _, name in ipairs(names or { "attention_axis" }) do
    self[name] = AxisAttention.axis_number(where, name, options[name], options.axes)
  end
  if options.switch_axis ~= nil then
    self.switch_axis = AxisAttention.axis_number(where, "switch_axis", options.switch_axis, options.axes)
  end
  self.comm, self.scale = options.comm, options.scale
end

--- Reads causal (false).
function AxisAttention:set_causal(options)
  self.causal = options.causal or false
  if type(self.causal) ~= "boolean" then
    check.fail("%s: causal must be true or false, got %s", self.class_name, check.show(self.causal))
  end
end

--- Reads dropout (0): the share of the probabilities that becomes 0 while training.
function AxisAttention:set_dropout(options)
  self.dropout = check.option(self.class_name, options, "dropout", "number", 0)
  if not (self.dropout >= 0 and self.dropout < 1) then
    check.fail("%s: dropout must be at least 0 and below 1, got %g", self.class_name, self.dropout)
  end
end

--- The dropout of one call, as for mosaic.attend; nil in eval() and at 0. The seed is a number of the rank's
-- default generator: checkpoint finds it again, and ranks that were seeded alike and drew as often have the
-- same one (attend fails where they have not).
function AxisAttention:dropout_of_call()
  if not self.training or self.dropout == 0 then return nil end
  return { p = self.dropout, seed = random.randint(0, 2 ^ 53 - 1, { 1, device = "cpu" }):item() }
end

--- The mask of one call: the layer's own and the caller's.
function AxisAttention:mask_of(options)
  local mask = {}
  for name, value in pairs(options.mask or {}) do mask[name] = value end
  if self.causal then mask.causal = true end
  return mask
end

--- Makes the projections; options: bias (true), dtype, device, generator.
function AxisAttention:make_parameters(options)
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

--- Which axis of x, from 1, the option `name` means; axes: the names of x's axes, where they have any.
function AxisAttention:axis_in(x, name, axes)
  local where = self.class_name
  operand(where, "the input", x)
  if axes and #axes ~= x.ndim then
    check.fail("%s: %s has not the axes {%s}", where, x:describe(), table.concat(axes, ", "))
  end
  local axis = check.axis(where, self[name], x.ndim) + 1
  if axis == x.ndim then
    check.fail("%s: %s %d of %s is the embedding", where, name, axis, x:describe())
  elseif x:size(-1) ~= self.embed_dim then
    check.fail("%s: the last axis of %s is not embed_dim %d", where, x:describe(), self.embed_dim)
  end
  return axis
end

--- x as (before, n, after, embed): every N-D tensor is that, seen from one axis, here that of `name`.
function AxisAttention:fold(x, name)
  local axis, shape = self:axis_in(x, name or "attention_axis", self.axes), x.shape
  local before, after = 1, 1
  for i = 1, axis - 1 do before = before * shape[i] end
  for i = axis + 1, #shape - 1 do after = after * shape[i] end
  return before, shape[axis], after
end

--- The heads `from` to `to` among all of [Q; K; V], (before, after, heads, n, d), for x (before, n, after).
function AxisAttention:heads(x, from, to, before, n, after)
  local weight, bias, d = self.in_proj_weight, self.in_proj_bias, self.head_size
  local first, count = (from - 1) * d + 1, to - from + 1
  if count * d < weight:size(1) then
    weight, bias = weight:narrow(1, first, count * d), bias and bias:narrow(1, first, count * d)
  end
  return linear(x, weight, bias):view(before, n, after, count, d):permute(1, 3, 4, 2, 5)
end

--- q, k, v (before, after, heads, n, d) of x, which is (before, n, after, embed): views of one product.
function AxisAttention:project_folded(x, before, n, after)
  local heads, kv_heads = self.num_heads, self.num_kv_heads
  local packed = self:heads(x, 1, heads + 2 * kv_heads, before, n, after)
  return unpack(packed:split({ heads, kv_heads, kv_heads }, 3))
end

--- q, k, v (before, after, heads, n, d) along the axis of the option `name`, by default attention_axis.
function AxisAttention:project(x, name)
  return self:project_folded(x, self:fold(x, name))
end

--- The layer's result for x from that of its heads, out (before, after, heads, n, d).
function AxisAttention:finish(out, x)
  return self.out_proj:forward(out:to(x.dtype):permute(1, 4, 2, 3, 5):reshape(x.shape))
end

return AxisAttention
