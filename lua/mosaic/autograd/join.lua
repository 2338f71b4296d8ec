--- cat and split: each is the other's derivative.
local Function = require "mosaic.autograd.function"
local Tensor = require "mosaic.tensor"
local join = require "mosaic.tensor.join"

local cat, split = join.cat, Tensor.split

local joined = Function("cat", {
  forward = function(ctx, axis, ...)
    ctx.axis, ctx.sizes = axis, {}
    for i = 1, select("#", ...) do ctx.sizes[i] = (select(i, ...)):size(axis) end
    return cat({ ... }, axis)
  end,
  backward = function(ctx, g)
    return nil, unpack(split(g, ctx.sizes, ctx.axis))
  end,
})

-- The gradients of the parts are written side by side, in the memory order of what was split, so that
-- what made it by views gets its gradient by views.
local cut = Function("split", {
  forward = function(ctx, x, sizes, axis)
    local views = split(x, sizes, axis)
    ctx.axis, ctx.shape, ctx.order, ctx.sizes = axis, x.shape, x:memory_order(), {}
    for i, view in ipairs(views) do ctx.sizes[i] = view:size(axis) end
    return unpack(views)
  end,
  backward = function(ctx, ...)
    local some
    for i = 1, #ctx.sizes do some = some or (select(i, ...)) end
    local whole = Tensor.empty_in_order(ctx.shape, ctx.order, { dtype = some.dtype, device = some.device })
    for i, place in ipairs(split(whole, ctx.sizes, ctx.axis)) do
      local gradient = select(i, ...)
      if gradient then place:copy_(gradient) else place:fill_(0) end
    end
    return whole
  end,
})

local function any_edge(list)
  for _, t in ipairs(list) do
    if Tensor.is(t) and t.edge then return true end
  end
end

function join.cat(list, axis)
  if type(list) ~= "table" or Tensor.is(list) or not any_edge(list) then return cat(list, axis) end
  return joined(axis or 1, unpack(list))
end

function Tensor:split(sizes, axis)
  if not self.edge then return split(self, sizes, axis) end
  return { cut(self, sizes, axis or 1) }
end
