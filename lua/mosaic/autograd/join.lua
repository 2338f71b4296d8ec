--- cat and split: each is the other's derivative.
local tape = require "mosaic.autograd.tape"
local Function = require "mosaic.autograd.function"
local Tensor = require "mosaic.tensor"
local join = require "mosaic.tensor.join"

local cat, split = join.cat, Tensor.split

--- The gradient of each part is its piece of the whole's.
local function cat_rule(node)
  local pieces = split(node.outputs[1].grad, node.context.sizes, node.context.axis)
  for i, edge in ipairs(node.inputs) do
    if edge then tape.deposit(edge, pieces[i]) end
  end
end

--- Recorded by hand: thousands of parts are too many for the arguments of a Function.
local function record_cat(out, list, axis)
  local edges, sizes = {}, {}
  for i, part in ipairs(list) do edges[i], sizes[i] = part.edge or false, part:size(axis) end
  local node = tape.new_node("cat", cat_rule, edges)
  node.context = { sizes = sizes, axis = axis }
  tape.attach(node, out)
  return out
end

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
    if t.edge then return true end
  end
end

function join.cat(list, axis)
  local out = cat(list, axis)
  if not tape.recording() or not any_edge(list) then return out end
  return record_cat(out, list, axis or 1)
end

function Tensor:split(sizes, axis)
  if not self.edge then return split(self, sizes, axis) end
  return { cut(self, sizes, axis or 1) }
end
