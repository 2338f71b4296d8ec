--- A causal character language model, trained with its sequences sharded over the ranks by a zigzag ring;
-- then it writes, its K/V cache sharded over the same ranks:
--   mosaic-lua -n 2 examples/char_lm.lua --text book.txt --steps 2000
local HERE = arg[0]:match "^(.*/)[^/]*$" or ""
package.path = HERE .. "?.lua;" .. package.path
local mosaic = require "mosaic"
local fail = require "support.fail"
local options = require "support.options"

local class, nn = mosaic.class, mosaic.nn

local OPTIONS = {
  { "text", "", "file to learn from; without it a short story that comes with this program" },
  { "steps", 100, "training steps", integer = 1 },
  { "length", 128, "characters per sequence, shared by the ranks", integer = 1 },
  { "batch", 4, "sequences per step", integer = 1 },
  { "embed-dim", 64, "size of a character's embedding", integer = 1 },
  { "num-heads", 4, "attention heads", integer = 1 },
  { "num-layers", 2, "blocks", integer = 1 },
  { "lr", 5e-3, "learning rate", above = 0 },
  { "prompt", "Every morning", "what the model goes on from" },
  { "generate", 150, "characters to write", integer = 0 },
  { "temperature", 0.5, "of the choice of the next character: near 0 always the likeliest", above = 0 },
  { "seed", 0, "of the weights, the sequences and the choices", integer = 0 },
  { "every", 20, "steps from one printed loss to the next", integer = 1 },
}

--- Attention over all characters before, then an MLP; each on the normalised sum so far. The mask says
-- how far away a character is (ALiBi: one slope a head), by its global number: no table of positions.
local Block = class("Block", nn.Module)

function Block:init(o)
  self.attention = mosaic.MultiAxisAttention {
    embed_dim = o.embed_dim, num_heads = o.num_heads, axes = { "batch", "rows", "embed" },
    attention_axis = "rows", backend = "ring", layout = "zigzag", causal = true, generator = o.generator,
  }
  self.mlp = nn.MLP { sizes = { o.embed_dim, 4 * o.embed_dim, o.embed_dim }, generator = o.generator }
  self.attention_norm = nn.LayerNorm { features = o.embed_dim }
  self.mlp_norm = nn.LayerNorm { features = o.embed_dim }
  self._mask = { alibi = {} }
  for head = 1, o.num_heads do self._mask.alibi[head] = 2 ^ (1 - head) end
end

function Block:forward(x, cache)
  local how = cache and { cache = cache } or { mask = self._mask }
  x = x + self.attention:forward(self.attention_norm(x), how)
  return x + self.mlp(self.mlp_norm(x))
end

function Block:new_cache() return self.attention:kv_cache { mask = self._mask } end

local Model = class("Model", nn.Module)

function Model:init(o)
  local features, generator = o.embed_dim, o.generator
  self.embedding = nn.Embedding { entries = o.alphabet, features = features, generator = generator }
  nn.initial.normal_(self.embedding.weight, 0, 0.1, { generator = generator })
  self.blocks = {}
  for i = 1, o.num_layers do self.blocks[i] = Block(o) end
  self.norm = nn.LayerNorm { features = features }
  self.head = nn.Linear { in_features = features, out_features = o.alphabet, generator = generator }
end

--- Characters (batch, rows) -> logits of the next ones (batch, rows, alphabet). The rows are this rank's
-- share; or, with a cache for each block, the newest characters, on every rank.
function Model:forward(characters, caches)
  local x = self.embedding(characters)
  for i, block in ipairs(self.blocks) do x = block(x, caches and caches[i]) end
  return self.head(self.norm(x))
end

--- The file as numbers from 1 (i64), and the characters that they stand for.
local function read(path)
  local file = io.open(path, "rb")
  if not file then fail("--text: cannot open %s", path) end
  local text, numbers, alphabet, number_of = file:read "*a", {}, {}, {}
  file:close()
  for i = 1, #text do
    local character = text:sub(i, i)
    if not number_of[character] then
      alphabet[#alphabet + 1] = character
      number_of[character] = #alphabet
    end
    numbers[i] = number_of[character]
  end
  return mosaic.tensor(numbers, { dtype = "i64" }), alphabet, number_of
end

--- One step on random pieces of the text, the same on every rank, of which each takes its share. Returns
-- the mean loss over all characters of all ranks.
local function train_step(model, optimizer, text, o)
  local starts = mosaic.randint(1, text:size(1) - o.length, { o.batch, 1, generator = o.generator })
  local at = starts + mosaic.arange(0, o.length - 1)
  local function share(index)
    local whole = text:index_select(1, index:flatten()):view(index.shape)
    return mosaic.shard(whole, { axis = 2, layout = "zigzag" })
  end
  local targets = share(at + 1)
  local loss = nn.cross_entropy(model(share(at)), targets, { reduction = "sum" })
  loss = loss / mosaic.total(targets:numel())
  loss:backward()
  mosaic.sync_gradients(model)
  optimizer:step()
  optimizer:zero_grad()
  return mosaic.total(loss:item())
end

local function train(model, text, o, say)
  local optimizer = mosaic.optim.AdamW { params = model:parameters(), lr = o.lr }
  local rate = mosaic.optim.schedules.cosine { lr = o.lr, warm_up = math.min(10, o.steps), steps = o.steps }
  for step = 1, o.steps do
    optimizer.lr = rate(step - 1)
    local loss = train_step(model, optimizer, text, o)
    if step % o.every == 0 or step == 1 or step == o.steps then
      say("step %d: loss %.4f\n", step, loss)
    end
  end
end

--- A number from 1, drawn with the probabilities softmax(logits / temperature); the same on every rank.
local function choose(logits, o)
  local p = (logits:to "f64" / o.temperature):softmax(-1):flat()
  local left = mosaic.rand({ 1, dtype = "f64", generator = o.generator }):item()
  for i = 1, #p do
    left = left - p[i]
    if left < 0 then return i end
  end
  return #p
end

--- Goes on from the numbers in `newest`: calls emit(number) for each of o.generate more. Every rank has
-- the newest character, and keeps its share of the keys and values of those before.
local function generate(model, newest, o, emit)
  local caches = {}
  for i, block in ipairs(model.blocks) do caches[i] = block:new_cache() end
  for _ = 1, o.generate do
    local logits = model(mosaic.tensor({ newest }, { dtype = "i64" }), caches)
    newest = { choose(logits[1][-1], o) }
    emit(newest[1])
  end
end

--- The prompt as numbers.
local function numbers_of(prompt, number_of)
  local numbers = {}
  for i = 1, #prompt do
    local character = prompt:sub(i, i)
    numbers[i] = number_of[character] or fail("--prompt: %q is not in the text", character)
  end
  if #numbers == 0 then fail "--prompt: at least one character is needed to go on from" end
  return numbers
end

local function main(o)
  local first = mosaic.comm.world().rank == 0
  local function say(...)
    if first then io.write((...):format(select(2, ...))) io.flush() end
  end
  local text, alphabet, number_of = read(o.text ~= "" and o.text or HERE .. "char_lm.txt")
  local prompt = numbers_of(o.prompt, number_of)
  if text:size(1) <= o.length then
    fail("--length: %d characters are too few for sequences of %d", text:size(1), o.length)
  end
  o.alphabet, o.generator = #alphabet, mosaic.generator(o.seed)
  local model = Model(o)
  say("%d characters, %d of them different; %d parameters; %d ranks\n", text:size(1), #alphabet,
    model:num_parameters(), mosaic.comm.world().size)
  train(model, text, o, say)
  say("%s", o.prompt)
  mosaic.no_grad(generate, model, prompt, o, function(number) say("%s", alphabet[number]) end)
  say "\n"
end

local o = options.parse("examples/char_lm.lua",
  "Learns a text character by character, then goes on from a prompt.", OPTIONS, arg)
if o then main(o) end
