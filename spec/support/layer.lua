--- Attention layers in plain Lua doubles, and what shards of one are compared with.
local close = require "spec.support.close"
local dense = require "spec.support.dense"
local fill = require "spec.support.fill"
local mosaic = require "mosaic"

local layer = {}

--- The layer with parameters that depend on nothing but their number.
function layer.filled(made)
  local seed = 0
  for _, p in made:named_parameters() do
    seed = seed + 1
    mosaic.no_grad(function() p:copy_(fill(p.shape, { seed = seed }) * 0.5) end)
  end
  return made
end

--- x W^T + b in plain Lua, row by row.
local function project(rows, weight, bias)
  local out = {}
  for i, row in ipairs(rows) do
    out[i] = {}
    for o, w in ipairs(weight) do
      local sum = bias and bias[o] or 0
      for c, x in ipairs(row) do sum = sum + x * w[c] end
      out[i][o] = sum
    end
  end
  return out
end

--- Heads h of channels first..first+heads*d-1 as a (1, heads, n, d) tensor.
local function heads_of(rows, first, heads, d)
  local list = {}
  for h = 0, heads - 1 do
    for _, row in ipairs(rows) do
      for c = 0, d - 1 do list[#list + 1] = row[first + h * d + c] end
    end
  end
  return mosaic.tensor(list, { dtype = "f64" }):view(1, heads, #rows, d)
end

--- The layer's result for a list of query rows and one of key rows (default: the same).
function layer.truth(made, rows, mask, keys, dropout)
  local heads, d, embed = made.num_heads, made.head_size, made.embed_dim
  local weight, bias = made.in_proj_weight:tolist(), made.in_proj_bias:tolist()
  local packed, packed_keys = project(rows, weight, bias), project(keys or rows, weight, bias)
  local out = dense.attention(heads_of(packed, 1, heads, d), heads_of(packed_keys, embed + 1, heads, d),
    heads_of(packed_keys, 2 * embed + 1, heads, d), { mask = mask, dropout = dropout }).out
  local joined = {}
  for i = 1, #rows do
    joined[i] = {}
    for c = 1, embed do
      local h, at = math.floor((c - 1) / d), (c - 1) % d
      joined[i][c] = out[(h * #rows + i - 1) * d + at + 1]
    end
  end
  return project(joined, made.out_proj.weight:tolist(), made.out_proj.bias:tolist())
end

--- Runs step(layer, leaves) -> y on one rank and on shards; everything must be the same.
-- how: ranks; inputs (whole tensors); whole() -> layer, sharded(comm) -> layer; step; and
-- cut(comm, layer)(x, i), the rank's part of input i, and of the result for i = nil.
function layer.same(how)
  local function leaves_of(cut)
    local leaves = {}
    for i, x in ipairs(how.inputs) do leaves[i] = cut(x, i):clone():requires_grad_() end
    return leaves
  end
  local one, leaves = layer.filled(how.whole()), leaves_of(function(x) return x end)
  local expected = how.step(one, leaves)
  local dy = fill(expected.shape, { seed = 9 })
  expected:backward(dy)
  mosaic.virtual(how.ranks, function(comm)
    local own = layer.filled(how.sharded(comm))
    local cut = how.cut(comm, own)
    local parts = leaves_of(cut)
    local y = how.step(own, parts, cut)
    y:backward(cut(dy))
    close(y:detach(), cut(expected:detach()))
    for i, part in ipairs(parts) do close(part.grad, cut(leaves[i].grad, i)) end
    mosaic.sync_gradients(own, { comm = comm })
    local parameters = one:parameters()
    for i, p in ipairs(own:parameters()) do close(p.grad, parameters[i].grad) end
  end)
end

return layer
