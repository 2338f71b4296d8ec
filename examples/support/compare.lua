--- Runs an attention layer on shards of a sequence and on one rank: `compare("ring", layer, rows)` prints the
-- largest difference of result and gradients and the bytes that were sent, and fails unless they agree.
local mosaic = require "mosaic"
local fail = require "support.fail"

local BOUND = 1e-4 -- of the largest value; f32

--- x, y's gradient: the same on every rank.
local function operands(rows, width)
  local generator = mosaic.generator(7)
  return mosaic.randn { 1, rows, width, generator = generator },
    mosaic.randn { 1, rows, width, generator = generator }
end

--- The result, and the gradients of the input and of the packed projection.
local function run(layer, x, dy)
  x = x:detach():requires_grad_()
  local y = layer:forward(x)
  y:backward(dy)
  return { y:detach(), x.grad }, layer.in_proj_weight.grad
end

return function(name, layer, rows)
  local world = mosaic.comm.world()
  local x, dy = operands(rows, layer.embed_dim)
  local alone = mosaic.MultiAxisAttention {
    embed_dim = layer.embed_dim, num_heads = layer.num_heads, attention_axis = -2, causal = layer.causal,
  }:load_state_dict(layer:state_dict())
  local cut = { axis = 2, layout = layer.layout, indices = layer.indices }
  local expected, expected_weight = run(alone, x, dy)
  local before = world:bytes_sent()
  local got, weight = run(layer, mosaic.shard(x, cut), mosaic.shard(dy, cut))
  local sent, worst = mosaic.total(world:bytes_sent() - before), 0
  got[3], expected[3] = world:all_reduce(weight), expected_weight
  for i = 1, 3 do
    local whole = i < 3 and mosaic.unshard(got[i], cut) or got[i]
    worst = math.max(worst, ((whole - expected[i]):abs():max() / expected[i]:abs():max()):item())
  end
  if world.rank == 0 then print(("%-14s error %.0e, %d bytes sent"):format(name, worst, sent)) end
  if not (worst <= BOUND) then fail("%s is wrong by %g", name, worst) end
end
