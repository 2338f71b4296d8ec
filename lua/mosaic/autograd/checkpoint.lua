--- Trades time for memory: `checkpoint(body, x, ...)` keeps only the arguments and computes body
-- again when backward needs what was inside. (Chen et al. 2016, "Training deep nets with sublinear
-- memory cost".) Random numbers are drawn again from the same place, so dropout repeats.
local state = require "mosaic.state"
local tape = require "mosaic.autograd.tape"
local Function = require "mosaic.autograd.function"
local Tensor = require "mosaic.tensor"

--- The arguments again, cut off the tape; those that want a gradient are leaves.
local function fresh_leaves(arguments, needs)
  local leaves = {}
  for i = 1, arguments.count do
    local value = arguments[i]
    leaves[i] = Tensor.is(value) and value:detach():requires_grad_(needs[i]) or value
  end
  return leaves
end

local function recompute(ctx)
  local leaves = fresh_leaves(ctx.arguments, ctx.needs)
  local before = state.current.generator:position()
  state.current.generator:seek(ctx.position)
  local results = { tape.with_recording(true, ctx.body, unpack(leaves, 1, ctx.arguments.count)) }
  state.current.generator:seek(before)
  return leaves, results
end

return Function("checkpoint", {
  collective = true, -- parameters inside body want gradients even where the arguments do not
  forward = function(ctx, body, ...)
    ctx.body, ctx.arguments = body, { count = select("#", ...), ... }
    ctx.position = require "mosaic.tensor.random".default():position()
    return body(...)
  end,
  backward = function(ctx, ...)
    table.remove(ctx.needs, 1) -- the entry of body itself
    local leaves, results = recompute(ctx)
    local roots, gradients = {}, {}
    for i, result in ipairs(results) do
      local g = select(i, ...)
      if g and result.edge then roots[#roots + 1], gradients[#gradients + 1] = result, g end
    end
    tape.backward(roots, gradients)
    local arrived = {}
    for i = 1, ctx.arguments.count do arrived[i] = Tensor.is(leaves[i]) and leaves[i].grad or nil end
    return nil, unpack(arrived, 1, ctx.arguments.count)
  end,
})
