--- Data parallel x sequence parallel: the gradient is that of one rank and the mean over all tokens.
local mosaic = require "mosaic"
local close = require "spec.support.close"
local fill = require "spec.support.fill"

local nn = mosaic.nn
local ENTRIES, LAST = 5, -1

--- A token model on packed documents: embedding, causal attention, linear, in f64.
local Model = mosaic.class("Model", nn.Module)

function Model:init(backend)
  self.embedding = nn.Embedding { entries = ENTRIES, features = 4, dtype = "f64" }
  self.attention = mosaic.MultiAxisAttention {
    embed_dim = 4, num_heads = 2, attention_axis = 1, backend = backend, causal = true, dtype = "f64",
  }
  self.head = nn.Linear { in_features = 4, out_features = ENTRIES, dtype = "f64" }
  local seed = 0
  for _, p in self:named_parameters() do
    seed = seed + 1
    mosaic.no_grad(function() p:copy_(fill(p.shape, { seed = seed })) end)
  end
end

function Model:forward(tokens, documents)
  local x = self.embedding(tokens)
  return self.head(x + self.attention:forward(x, { mask = { documents = documents } }))
end

local function i64(list) return mosaic.tensor(list, { dtype = "i64" }) end

--- The packed sequence of a group: documents of these lengths; a document's last token has no target.
local function sequence(group, lengths)
  local tokens, targets, documents = {}, {}, {}
  for document, length in ipairs(lengths) do
    for i = 1, length do
      local n = #tokens + 1
      tokens[n], documents[n] = (n * n + group * 3) % ENTRIES + 1, document
      targets[n] = i < length and (n * 7 + group) % ENTRIES + 1 or LAST
    end
  end
  return i64(tokens), i64(targets), i64(documents)
end

local function summed_loss(model, tokens, targets, documents)
  return nn.cross_entropy(model(tokens, documents), targets, { reduction = "sum", ignore_index = LAST })
end

--- One rank on all groups' sequences: the loss and the gradients by name.
local function truth(groups)
  local model, sum, count = Model "local", 0, 0
  for group, lengths in ipairs(groups) do
    sum = summed_loss(model, sequence(group, lengths)) + sum
    for _, length in ipairs(lengths) do count = count + length - 1 end
  end
  local loss, gradients = sum / count, {}
  loss:backward()
  for name, p in model:named_parameters() do gradients[name] = p.grad end
  return loss:item(), gradients, count
end

--- dp = #groups groups of sp ranks; one sequence a group.
local function check(groups, sp, backend, options)
  local loss, gradients, count = truth(groups)
  mosaic.virtual(#groups * sp, function()
    local mesh = mosaic.init { sp_size = sp, causal = true, layout = options.layout }
    local group = mesh:coordinate "dp" + 1
    local shards = { sequence(group, groups[group]) }
    for i, whole in ipairs(shards) do shards[i] = mosaic.shard(whole, { axis = 1 }) end
    local model = Model(backend)
    if mesh.world.rank > 0 then -- broadcast must mend this
      mosaic.no_grad(function() model.head.weight:fill_(mesh.world.rank) end)
    end
    mosaic.broadcast_parameters(model)
    assert.equal(count, mosaic.total(shards[2]:ne(LAST):to("f64"):sum():item()))
    local own = summed_loss(model, unpack(shards)) / count
    own:backward()
    mosaic.sync_gradients(model)
    close(mosaic.total(own:item()), loss)
    for name, p in model:named_parameters() do close(p.grad, gradients[name]) end
  end)
end

local EVEN = { { 8 }, { 8 } }
local TWO = { { 5, 1, 7 }, { 2, 3 } }         -- 13 tokens here, 5 there
local THREE = { { 4, 9 }, { 1, 2, 1 }, { 11 } } -- 13, 4 and 11

describe("data parallel x sequence parallel", function()
  for _, layout in ipairs { "zigzag", "contiguous", "striped" } do
    it("gives the gradient of the mean over all tokens: layout " .. layout, function()
      check(EVEN, 2, "ring", { layout = layout })
      check(TWO, 2, "ring", { layout = layout })
      check(THREE, 2, "ring", { layout = layout })
      check(TWO, 3, "ring", { layout = layout })
      check({ { 2, 1 }, { 6, 5 } }, 4, "ring", { layout = layout }) -- ranks without a token
    end)
  end

  it("is zigzag by itself for causal work, and may be data or sequence parallel alone", function()
    check(TWO, 2, "ring", {})
    check(THREE, 1, "local", {})
    check({ TWO[1] }, 3, "ring", {})
  end)

  it("keeps groups apart: a group may do what the other one does not", function()
    mosaic.virtual(4, function()
      local mesh = mosaic.init { sp_size = 2 }
      local first = mesh:coordinate "dp" == 0
      local x = mosaic.shard(fill { first and 6 or 3, 2, 4 }, { axis = 1 })
      if first then
        local y = mosaic.attend(x, x, x, { layout = "contiguous", strategy = "local" })
        assert.same(x.shape, y.shape)
        mesh:comm("sp"):all_reduce(mosaic.ones { 2 })
      end
      assert.equal(2, mesh:comm("dp"):all_reduce(mosaic.ones { 1 }):item())
      assert.equal(first and 6 or 3, mosaic.unshard(x, { axis = 1 }):size(1))
    end)
  end)
end)
