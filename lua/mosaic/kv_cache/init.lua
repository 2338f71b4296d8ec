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
-- and one small message per call, by which the ranks make sure that they agree. A long prompt may be
-- sharded itself, in one piece or in several, and is computed as mosaic.attend does it, by a ring:
--   cache:append(k, v, { sharded = true, layout = "zigzag" })
--   local out, lse = cache:attend(q, { sharded = true })
-- Decoding has no gradient: tensors that want one are refused.
local append = require "mosaic.kv_cache.append"
local arguments = require "mosaic.kv_cache.arguments"
local attend = require "mosaic.kv_cache.attend"
local check = require "mosaic.check"
local class = require "mosaic.class"
local context = require "mosaic.context"
local Deal = require "mosaic.kv_cache.deal"
local Store = require "mosaic.kv_cache.store"

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
  self.comm = context.comm("KVCache", options.comm, "sp")
  arguments.new(self, options)
  self.deal = Deal { ranks = self.comm.size, layout = options.layout, block_size = options.block_size }
  self.store = Store({ self.batch, self.kv_heads, 0, self.head_size },
    { dtype = self.dtype, device = self.device })
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

--- Adds tokens. k and v hold all new rows, the same on every rank, or with `sharded` this rank's shard, as
-- mosaic.shard makes it. options: sharded; layout (and indices): how these rows are dealt, as for
-- mosaic.shard (default: as the cache deals, for shards mosaic.init's); first: the number that the first
-- new row must get; documents: ids (n) or (batch, n) of the rows, from the first append on or never.
function KVCache:append(k, v, options)
  return append(self, k, v, options or {})
end

--- Attention of the newest tokens. q (batch, heads, m, d), the same on every rank, holds the queries of
-- the last m of them; out (batch, heads, m, d) and lse (batch, heads, m) are the same on every rank.
-- options: documents: ids (m) or (batch, m) of the queries; sharded: q has this rank's share of the rows
-- that were appended last, and so do out and lse; strategy: for sharded queries (default "ring").
function KVCache:attend(q, options)
  return attend(self, q, options or {})
end

--- Forgets all tokens after the first n: those that a speculation got wrong.
function KVCache:truncate(n)
  arguments.truncate(self, n)
  self.store:keep(self.deal:truncate(n, self.comm.rank))
  self.newest = nil
  return self
end

return KVCache
