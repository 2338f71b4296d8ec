--- What attention layers along one axis of an N-D tensor have in common: sizes, the axis, projections.
--
-- A layer's init calls set_sizes and make_parameters, its forward project, then what it computes with q, k
-- and v, then finish. Parameters are named and packed as in torch.nn.MultiheadAttention: in_proj_weight
-- (E + 2 E_kv, E) holds [Q; K; V], heads are contiguous slices of d = E / num_heads channels.
local check = require "mosaic.check"
local class = require "mosaic.class"
local initial = require "mosaic.nn.initial"
local linear = require "mosaic.tensor.matmul".linear
local Linear = require "mosaic.nn.linear"
local Module = require "mosaic.nn.module"
local operand = require "mosaic.tensor.operand"
local parameter = require "mosaic.nn.parameter"

local AxisAttention = class("AxisAttention", Module)

--- An axis, option `name`, as a number, from a number or one of the names in `axes`.
local function axis_number(where, name, axis, axes)
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

--- Reads embed_dim, num_heads, num_kv_heads (num_heads), attention_axis (a number, or a name in `axes`),
-- axes, comm and scale; switch_axis where there is one.
function AxisAttention:set_sizes(options)
  local where = self.class_name
  self.embed_dim = positive(where, options, "embed_dim")
  self.num_heads = positive(where, options, "num_heads")
  self.num_kv_heads = positive(where, options, "num_kv_heads", self.num_heads)
  check_heads(where, self.embed_dim, self.num_heads, self.num_kv_heads)
  self.head_size = self.embed_dim / self.num_heads
  self.axes = options.axes
  self.attention_axis = axis_number(where, "attention_axis", options.attention_axis, options.axes)
  if options.switch_axis ~= nil then
    self.switch_axis = axis_number(where, "switch_axis", options.switch_axis, options.axes)
  end
  self.comm, self.scale = options.comm, options.scale
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

--- x as (before, n, after, embed): every N-D tensor is that, seen from one axis.
function AxisAttention:fold(x)
  local where = self.class_name
  operand(where, "the input", x)
  local shape = x.shape
  if self.axes and #self.axes ~= #shape then
    check.fail("%s: %s has not the axes {%s}", where, x:describe(), table.concat(self.axes, ", "))
  end
  local axis = check.axis(where, self.attention_axis, #shape) + 1
  if axis == #shape then
    check.fail("%s: attention_axis %d of %s is the embedding", where, axis, x:describe())
  elseif shape[#shape] ~= self.embed_dim then
    check.fail("%s: the last axis of %s is not embed_dim %d", where, x:describe(), self.embed_dim)
  end
  local before, after = 1, 1
  for i = 1, axis - 1 do before = before * shape[i] end
  for i = axis + 1, #shape - 1 do after = after * shape[i] end
  return before, shape[axis], after
end

--- q, k, v (before, after, heads, n, d) of x: views of one product.
function AxisAttention:project(x)
  local before, n, after = self:fold(x)
  local heads, kv_heads = self.num_heads, self.num_kv_heads
  local packed = linear(x, self.in_proj_weight, self.in_proj_bias)
    :view(before, n, after, heads + 2 * kv_heads, self.head_size)
    :permute(1, 3, 4, 2, 5)
  return unpack(packed:split({ heads, kv_heads, kv_heads }, 3))
end

--- The layer's result for x from that of its heads, out (before, after, heads, n, d).
function AxisAttention:finish(out, x)
  return self.out_proj:forward(out:to(x.dtype):permute(1, 4, 2, 3, 5):reshape(x.shape))
end

return AxisAttention
