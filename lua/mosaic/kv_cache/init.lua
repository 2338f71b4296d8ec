--- Keys and values of a sequence that grows, sharded over ranks: decoding, token by token or in chunks.
--
--   local cache = mosaic.KVCache { comm = comm, kv_heads = 2, head_size = 16, mask = { causal = true } }
--   cache:append(k, v, { layout = "zigzag" })   -- the prompt, whole on every rank
--   cache:append(k, v)                          -- the next token: one rank keeps it
--   local out, lse = cache:attend(q)            -- its query, on every rank
--
-- k and v are (batch, kv heads, rows, d), q (batch, heads, rows, d), heads a multiple of kv heads. Every
-- row keeps its global number, 1 for the first token, so all masks mean what they mean on one rank:
-- out and lse are those of attention over the whole sequence. Each rank holds about rows / p of them
-- and attends to these alone; what is sent is the result (see everywhere.lua), whatever the length,
-- and one small message per call, by which the ranks make sure that they agree.
-- Decoding has no gradient: tensors that want one are refused.
local attention = require "mosaic.attention"
local check = require "mosaic.check"
local class = require "mosaic.class"
local context = require "mosaic.context"
local create = require "mosaic.tensor.create"
local Deal = require "mosaic.kv_cache.deal"
local everywhere = require "mosaic.kv_cache.everywhere"
local Store = require "mosaic.kv_cache.store"
local arguments = require "mosaic.kv_cache.arguments"

local KVCache = class("KVCache")

local OPTIONS = {
  "comm", "batch", "kv_heads", "head_size", "dtype", "device", "layout", "block_size", "capacity", "mask",
  "scale",
}

--- Every rank makes it, with the same options: kv_heads, head_size (required); batch (1); dtype ("f32"),
-- device; comm (default: mosaic.init's); layout: who keeps new rows, "fewest" (the rank with the fewest)
-- or "striped" (in turns, with block_size rows a turn); capacity: how many tokens to make room for; mask:
-- as for mosaic.sdpa, without documents, which come with the rows, and without tensors keep and bias,
-- which have a column for every key; scale.
function KVCache:init(options)
  check.options("KVCache", options, OPTIONS)
  self.comm = options.comm or context.current():comm "sp"
  arguments.new(self, options)
  self.deal = Deal { ranks = self.comm.size, layout = options.layout, block_size = options.block_size }
  self.store = Store({ self.batch, self.kv_heads, 0, self.head_size },
    { dtype = self.dtype, device = options.device })
  if options.capacity then self:reserve(options.capacity) end
end

--- How many tokens all ranks hold together.
function KVCache:len() return self.deal.rows end

--- How many of them this rank holds.
function KVCache:rows() return self.store.rows end

--- Makes room for `tokens` in all.
function KVCache:reserve(tokens)
  check.integer("KVCache: reserve", "tokens", tokens, 0)
  local more = math.max(0, tokens - self.deal.rows)
  self.store:reserve(self.store.rows + math.ceil(more / self.comm.size))
  return self
end

--- The rows of x that the runs name, along an axis.
local function pick(x, axis, runs)
  if #runs == 1 and runs[1][2] == 1 then return x:narrow(axis, runs[1][1], runs[1][3]) end
  return x:index_select(axis, create.runs(runs))
end

--- Adds tokens. k and v hold all new rows, the same on every rank, or with `sharded` those that this rank
-- keeps. options: sharded; layout (and indices): how these rows are dealt, as for mosaic.shard (default:
-- as the cache deals); first: the number that the first new row must get; documents: ids (n) or
-- (batch, n) of the rows, from the first append on or never.
function KVCache:append(k, v, options)
  options = options or {}
  local counts = arguments.append(self, k, v, options)
  local parts = arguments.parts(self, counts, options)
  local own = parts[self.comm.rank + 1]
  local values = { k = k, v = v, positions = create.runs(own) + self.deal.rows }
  values.documents = arguments.documents(options.documents)
  if not options.sharded then
    for name, axis in pairs { k = -2, v = -2, documents = -1 } do
      values[name] = values[name] and pick(values[name], axis, own)
    end
  end
  if self.deal.rows == 0 then self.store:start_documents(values.documents and self.batch) end
  self.store:append(values, Deal.count_of(own))
  self.deal:append(parts)
  return self
end

--- The mask with the documents of these queries and of this rank's keys.
local function mask_of(self, documents)
  if not documents then return self.mask end
  local mask = { documents = { q = documents, k = self.store:get "documents" } }
  for name, value in pairs(self.mask) do mask[name] = value end
  return mask
end

--- Attention of the newest tokens: q (batch, heads, m, d), the same on every rank, holds the queries of
-- the last m of them. Returns out (batch, heads, m, d) and lse (batch, heads, m), the same on every
-- rank. options: documents: ids (m) or (batch, m) of the queries.
function KVCache:attend(q, options)
  options = options or {}
  arguments.attend(self, q, options)
  local count, length = q:size(-2), self.deal.rows
  local out, lse = attention.forward(q, self.store:get "k", self.store:get "v", {
    scale = self.scale, mask = mask_of(self, arguments.documents(options.documents)),
    q_positions = create.runs { { length - count + 1, 1, count } },
    k_positions = self.store:get "positions",
  })
  return everywhere(self.comm, out, lse)
end

--- Forgets all tokens after the first n: those that a speculation got wrong.
function KVCache:truncate(n)
  arguments.truncate(self, n)
  self.store:keep(self.deal:truncate(n, self.comm.rank))
  return self
end

return KVCache
