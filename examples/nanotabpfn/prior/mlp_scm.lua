--- Tables from a random network: the columns are some of its units, or what goes into it.
local mosaic = require "mosaic"
local activation = require "nanotabpfn.prior.activation"
local causes = require "nanotabpfn.prior.causes"

--- N(0, std / sqrt(keep)) with a share of 1 - keep set to zero.
local function sparse_weight(stream, outputs, inputs, std, dropout)
  local keep = 1 - math.min(dropout, 0.99)
  local weight = stream:normals(outputs, inputs):mul_(std / math.sqrt(keep))
  if keep == 1 then return weight end
  return weight:mul_(stream:uniforms(outputs, inputs):lt(keep))
end

--- Zero outside of 1..ceil(sqrt(smaller side)) equal blocks on the diagonal.
local function block_weight(stream, outputs, inputs, std)
  local blocks = stream:integer(1, math.ceil(math.sqrt(math.min(outputs, inputs))))
  local high, wide = math.floor(outputs / blocks), math.floor(inputs / blocks)
  local keep = blocks * high * wide / (outputs * inputs)
  local weight = mosaic.zeros { outputs, inputs }
  for b = 0, blocks - 1 do
    local block = weight:narrow(1, b * high + 1, high):narrow(2, b * wide + 1, wide)
    block:copy_(stream:normals(high, wide):mul_(std / math.sqrt(keep)))
  end
  return weight
end

--- The weight matrix of layer `depth` (0: from the causes; never dropped out).
local function weight_of(stream, h, depth, outputs, inputs)
  if h.blockwise_dropout then return block_weight(stream, outputs, inputs, h.init_std) end
  return sparse_weight(stream, outputs, inputs, h.init_std, depth > 0 and h.dropout or 0)
end

local function add_noise_(stream, h, x)
  local noise = stream:normals(x:size(1), x:size(2)):mul_(h.noise_std)
  if h.presampled_noise then noise:mul_(stream:normals(x:size(1), 1):abs()) end
  return x:add_(noise)
end

--- activation, linear, noise: (inputs, rows) -> (outputs, rows)
local function block_here(stream, h, depth, x, outputs)
  local name = h.layers_differ and activation.draw(stream) or h.activation
  local active = activation.apply(name, x, stream)
  return add_noise_(stream, h, weight_of(stream, h, depth, outputs, x:size(1)):matmul(active))
end

local function block(...) return mosaic.scope(block_here, ...) end

--- Which of `units` become features and which the target: a contiguous window of them or any. The last
-- unit, when it is the target, is no feature.
local function choose_units(stream, h, units, features)
  local pool = h.y_is_effect and units - 1 or units
  local order
  if h.in_clique then
    local first = stream:integer(0, pool - features - 1)
    order = stream:permutation(features + 1)
    for i, unit in ipairs(order) do order[i] = first + unit end
  else
    order = stream:permutation(pool)
  end
  local chosen = {}
  for i = 1, features do chosen[i] = order[i + 1] end
  if h.sorted_features then table.sort(chosen) end
  return chosen, h.y_is_effect and units or order[1]
end

--- X (features, rows) and y (rows): units of the blocks' outputs.
local function causal_table(stream, h, rows, features)
  local hidden = math.max(h.hidden, 1 + 2 * features)
  local outputs, x = {}, causes.draw(stream, h.causes, rows, h.sampling, h.presampled_causes)
  x = weight_of(stream, h, 0, hidden, h.causes):matmul(x)
  for depth = 1, h.layers - 1 do
    x = block(stream, h, depth, x, hidden)
    outputs[depth] = x
  end
  local units = mosaic.cat(outputs, 1)
  local chosen, target = choose_units(stream, h, units:size(1), features)
  return units:index_select(1, mosaic.tensor(chosen, { dtype = "i64" })), units[target]
end

--- X (features, rows): the causes; y (rows): what the network makes of them.
local function plain_table(stream, h, rows, features)
  local inputs = causes.draw(stream, features, rows, h.sampling, h.presampled_causes)
  local x = weight_of(stream, h, 0, h.hidden, features):matmul(inputs)
  for depth = 1, h.layers - 1 do x = block(stream, h, depth, x, h.hidden) end
  return inputs, block(stream, h, h.layers, x, 1)[1]
end

return function(stream, h, rows, features)
  local make = h.is_causal and causal_table or plain_table
  return make(stream, h, rows, features)
end
