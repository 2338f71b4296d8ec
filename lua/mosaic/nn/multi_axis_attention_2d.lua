--- Multi-head attention over two axes of an N-D tensor at once, sharded along both over a mesh of ranks.
--
--   local cells = mosaic.MultiAxisAttention2D {
--     embed_dim = 96, num_heads = 4, axes = { "batch", "rows", "features", "embed" },
--     axis1 = "rows", axis2 = "features", mesh_shape = { 2, 3 },
--   }
--   y = cells:unshard(cells:forward(cells:shard(x)))
--
-- The N1 x N2 positions are one sequence: (i, t) is number (i-1) N2 + t, for `causal` and all masks; the
-- other axes are batch. Rank i c + j of the mesh {a, c} holds the i-th share of axis1 by the j-th of axis2,
-- in the layer's layout along each axis, uneven or empty; its queries in a mask are the block's positions,
-- axis2 fastest. Under "mesh2d", the default, the tiles are the mesh's: queries of a row, keys of a column.
local attend = require "mosaic.attend"
local AxisAttention = require "mosaic.nn.axis_attention"
local check = require "mosaic.check"
local class = require "mosaic.class"
local comms = require "mosaic.comm"
local context = require "mosaic.context"
local mesh_blocks = require "mosaic.nn.mesh_blocks"
local parallel = require "mosaic.parallel"
local strategy = require "mosaic.strategy"

local MultiAxisAttention2D = class("MultiAxisAttention2D", AxisAttention)

local OPTIONS = {
  "embed_dim", "num_heads", "num_kv_heads", "axis1", "axis2", "mesh_shape", "axes", "backend", "causal",
  "bias", "layout", "comm", "scale", "wire", "dropout", "dtype", "device", "generator",
}
local LAYOUTS = { "contiguous", "zigzag", "striped" }

--- Two sizes; {1, 1} with backend "local".
local function mesh_shape_of(where, options)
  if options.backend == "local" and options.mesh_shape == nil then return { 1, 1 } end
  local shape = check.option(where, options, "mesh_shape", "table")
  for i = 1, math.max(2, #shape) do
    if i > 2 then check.fail("%s: mesh_shape has %d entries, not 2", where, #shape) end
    check.integer(where, ("mesh_shape[%d]"):format(i), shape[i], 1)
  end
  return { shape[1], shape[2] }
end

--- options: embed_dim, num_heads, axis1, axis2 (numbers, or names in `axes`) and mesh_shape = {a, c} are
-- required. backend: an exact strategy (default "mesh2d" with the same mesh), or "local" where x is whole;
-- layout: contiguous, zigzag or striped, along both axes; the others as for MultiAxisAttention.
function MultiAxisAttention2D:init(options)
  local where = self.class_name
  check.options(where, options, OPTIONS)
  self:set_sizes(options, { "axis1", "axis2" })
  self:set_causal(options)
  self:set_dropout(options)
  self.mesh_shape, self.wire = mesh_shape_of(where, options), options.wire
  if options.layout then self.layout = check.one_of(where, "layout", options.layout, LAYOUTS) end
  self.backend = options.backend or "mesh2d"
  if self.backend == "mesh2d" then self.backend = { "mesh2d", mesh_shape = self.mesh_shape } end
  local why = strategy.get(self.backend).body.approximate
  if why then check.fail("%s: the backend must be exact, but this one is not: %s", where, why) end
  self:make_parameters(options)
end

--- The two axes of x, from 1.
local function axes_in(layer, x)
  local axis1, axis2 = layer:axis_in(x, "axis1", layer.axes), layer:axis_in(x, "axis2", layer.axes)
  if axis1 == axis2 then
    check.fail("%s: axis1 and axis2 are both axis %d of %s", layer.class_name, axis1, x:describe())
  end
  return axis1, axis2
end

local function layout_of(layer) return layer.layout or context.layout() end

local function communicator(layer)
  if layer.backend == "local" then return comms.alone() end
  local comm, a, c = context.comm(layer.class_name, layer.comm, "sp"), unpack(layer.mesh_shape)
  if a * c ~= comm.size then
    check.fail("%s: mesh_shape {%d, %d} is not a mesh of %d ranks", layer.class_name, a, c, comm.size)
  end
  return comm
end

--- An order of x's axes: batch, axis1, axis2, embedding; and the one that leads back.
local function orders(x, axis1, axis2)
  local order, back = {}, {}
  for axis = 1, x.ndim - 1 do
    if axis ~= axis1 and axis ~= axis2 then order[#order + 1] = axis end
  end
  for _, axis in ipairs { axis1, axis2, x.ndim } do order[#order + 1] = axis end
  for i, axis in ipairs(order) do back[axis] = i end
  return order, back
end

--- x (..., n1, ..., n2, ..., embed_dim): this rank's block. Returns the same shape, sharded the same way.
-- options.mask: as for mosaic.attend; documents, keep and bias have this rank's positions for queries.
function MultiAxisAttention2D:forward(x, options)
  options = check.options(self.class_name .. ": forward", options or {}, { "mask" })
  local comm = communicator(self)
  local lists = mesh_blocks(self, comm, layout_of(self), function()
    local axis1, axis2 = axes_in(self, x)
    return x:size(axis1), x:size(axis2)
  end)
  local order, back = orders(x, axes_in(self, x))
  local sorted, batch = x:permute(unpack(order)), 1
  for axis = 1, x.ndim - 3 do batch = batch * sorted:size(axis) end
  local q, k, v = self:project_folded(sorted, batch, sorted:size(-3) * sorted:size(-2), 1)
  local out = attend(q, k, v, {
    strategy = self.backend, comm = comm, indices = lists, mask = self:mask_of(options),
    scale = self.scale, wire = self.wire, dropout = self:dropout_of_call(),
  })
  return self:finish(out, sorted):permute(unpack(back))
end

--- x cut or joined along both axes.
local function along_both(layer, where, x, options, cut)
  options = check.options(where, options or {}, { "axis1", "axis2" })
  local axis1, axis2 = options.axis1, options.axis2
  if axis1 == nil and axis2 == nil then axis1, axis2 = axes_in(layer, x) end
  local row, column = communicator(layer):grid(unpack(layer.mesh_shape))
  local layout = layout_of(layer)
  x = cut(x, { axis = axis1, comm = column, layout = layout })
  return cut(x, { axis = axis2, comm = row, layout = layout })
end

--- This rank's block of x, which every rank holds whole. options: axis1 and axis2 (numbers) where x has not
-- the layer's axes: labels, a mask's rows.
function MultiAxisAttention2D:shard(x, options)
  return along_both(self, self.class_name .. ": shard", x, options, parallel.shard)
end

--- The whole of what every rank holds a block of; options as for shard.
function MultiAxisAttention2D:unshard(x, options)
  return along_both(self, self.class_name .. ": unshard", x, options, parallel.unshard)
end

return MultiAxisAttention2D
