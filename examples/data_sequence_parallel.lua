--- Data parallel x sequence parallel: groups of ranks work on sequences of their own, and the ranks of a
-- group share each sequence. Every group packs another number of documents, of other lengths, and still the
-- gradient is that of the mean over all tokens:
--   mosaic-lua -n 4 examples/data_sequence_parallel.lua --sp-size 2
package.path = (arg[0]:match "^(.*/)[^/]*$" or "") .. "?.lua;" .. package.path
local mosaic = require "mosaic"
local fail = require "support.fail"
local options = require "support.options"

local class, nn = mosaic.class, mosaic.nn

local OPTIONS = {
  { "sp-size", 0, "ranks that share a sequence; 0: two where that divides the ranks, else one", integer = 0 },
  { "steps", 60, "training steps", integer = 1 },
  { "documents", 4, "documents per sequence, at most", integer = 1 },
  { "tokens", 8, "kinds of tokens", integer = 2 },
  { "embed-dim", 32, "size of a token's embedding", integer = 4 },
  { "lr", 1e-2, "learning rate", above = 0 },
  { "seed", 0, "of the weights and the documents", integer = 0 },
  { "every", 20, "steps from one printed loss to the next", integer = 1 },
}

--- Logits of the next token. The layers take their ranks and their layout from mosaic.init.
local Model = class("Model", nn.Module)

function Model:init(o)
  local generator = mosaic.generator(o.seed)
  self.embedding = nn.Embedding { entries = o.tokens, features = o.embed_dim, generator = generator }
  self.attention = mosaic.MultiAxisAttention {
    embed_dim = o.embed_dim, num_heads = 2, axes = { "rows", "embed" }, attention_axis = "rows",
    backend = "ring", causal = true, generator = generator,
  }
  self.norm = nn.LayerNorm { features = o.embed_dim }
  self.mlp = nn.MLP { sizes = { o.embed_dim, 2 * o.embed_dim, o.tokens }, generator = generator }
end

function Model:forward(tokens, documents)
  local x = self.embedding(tokens)
  x = x + self.attention:forward(x, { mask = { documents = documents } })
  return self.mlp(self.norm(x))
end

local LAST = -1 -- the target of a document's last token: none

--- One packed sequence: documents that repeat two tokens in turn. Lists of tokens, of the tokens that
-- follow, and of the documents' numbers.
local function pack(generator, o)
  local function draw(low, high)
    return mosaic.randint(low, high, { generator = generator, device = "cpu" }):item()
  end
  local tokens, targets, documents = {}, {}, {}
  for document = 1, draw(1, o.documents) do
    local pair, length = { draw(1, o.tokens), draw(1, o.tokens) }, draw(3, 20)
    for i = 1, length do
      tokens[#tokens + 1], documents[#documents + 1] = pair[i % 2 + 1], document
      targets[#targets + 1] = i < length and pair[(i + 1) % 2 + 1] or LAST
    end
  end
  return tokens, targets, documents
end

--- This rank's rows of its group's next sequence. All ranks of a group draw the same.
local function batch(generator, o)
  local shards = { pack(generator, o) }
  for i, list in ipairs(shards) do
    shards[i] = mosaic.shard(mosaic.tensor(list, { dtype = "i64" }), { axis = 1 })
  end
  return unpack(shards)
end

--- One step; returns the mean loss over the tokens of all ranks, and how many tokens that were.
local function train_step(model, optimizer, generator, o)
  local tokens, targets, documents = batch(generator, o)
  local count = mosaic.total(targets:ne(LAST):to("f64"):sum():item())
  local sum = nn.cross_entropy(model(tokens, documents), targets, { reduction = "sum", ignore_index = LAST })
  local loss = sum / count -- this rank's part of the mean: the ranks' parts, and their gradients, add up
  loss:backward()
  mosaic.sync_gradients(model)
  optimizer:step()
  optimizer:zero_grad()
  return mosaic.total(loss:item()), count
end

--- Have all ranks the same parameters, to the last bit?
local function are_equal(model, comm)
  local equal = true
  for _, p in ipairs(model:parameters()) do
    local least = comm:all_reduce(p:detach(), { op = "min" })
    equal = equal and least:eq(comm:all_reduce(p:detach(), { op = "max" })):all():item() == 1
  end
  return equal
end

local function run(o)
  local size = mosaic.comm.world().size
  if o.sp_size == 0 then o.sp_size = size % 2 == 0 and 2 or 1 end
  if size % o.sp_size ~= 0 then fail("--sp-size %d does not divide %d ranks", o.sp_size, size) end
  local mesh = mosaic.init { sp_size = o.sp_size, causal = true }
  local function say(...) if mesh.world.rank == 0 then io.write(string.format(...)) end end
  local model = mosaic.broadcast_parameters(Model(o))
  local optimizer = mosaic.optim.AdamW { params = model:parameters(), lr = o.lr }
  local generator = mosaic.generator(1000 * o.seed + mesh:coordinate "dp" + 1) -- a group's own documents
  say("%s, layout %s\n", mesh.mesh:describe(), mesh.layout)
  for step = 1, o.steps do
    local loss, tokens = train_step(model, optimizer, generator, o)
    if step % o.every == 0 or step == 1 then
      say("step %d: loss %.4f over %d tokens\n", step, loss, tokens)
    end
  end
  say("all %d ranks hold the same parameters: %s\n", size, are_equal(model, mesh.world) and "yes" or "no")
end

local o = options.parse("examples/data_sequence_parallel.lua",
  "Trains a small model on data parallel x sequence parallel ranks.", OPTIONS, arg)
if o then run(o) end
