--- Trades time for memory: `checkpoint(body, x, ...)` keeps only the arguments and computes body
-- again when backward needs what was inside. (Chen et al. 2016, "Training deep nets with sublinear
-- memory cost".) Every generator that body draws from goes back to its place, so dropout repeats.
local check = require "mosaic.check"
local tape = require "mosaic.autograd.tape"
local Function = require "mosaic.autograd.function"
local Generator = require "mosaic.tensor.generator"
local Tensor = require "mosaic.tensor"

--- The arguments again, cut off the tape; those that want a gradient are leaves. needs[1] is body's.
local function fresh_leaves(arguments, needs)
  local leaves = {}
  for i = 1, arguments.count do
    local value = arguments[i]
    leaves[i] = Tensor.is(value) and value:detach():requires_grad_(needs[i + 1]) or value
  end
  return leaves
end

local function run_again(ctx, leaves)
  Generator.go_back(ctx.places)
  return tape.with_recording(true, ctx.body, unpack(leaves, 1, ctx.arguments.count))
end

--- The generators end up where they were before: this computation leaves no trace.
local function go_back(places, ...)
  Generator.go_back(places)
  return { ... }
end

local function keep_places(ctx, places, ...)
  ctx.places = places
  return ...
end

return Function("checkpoint", {
  collective = true, -- parameters inside body want gradients even where the arguments do not
  forward = function(ctx, body, ...)
    check.callable("checkpoint", "the body", body)
    ctx.body, ctx.arguments = body, { count = select("#", ...), ... }
    return keep_places(ctx, Generator.watch(body, ...))
  end,
  backward = function(ctx, ...)
    local leaves = fresh_leaves(ctx.arguments, ctx.needs)
    local results = go_back(Generator.watch(run_again, ctx, leaves))
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
