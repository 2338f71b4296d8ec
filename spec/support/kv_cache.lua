--- A cache of keys and values beside the truth about the whole sequence.
--
--   kv_cache.case(rows, options) -> { q, k, v, out, lse, ... }
--   kv_cache.new(comm, case, options) -> a cache for such a sequence
--   kv_cache.step(cache, case, count, options, bound)   appends rows and compares their attention
--   kv_cache.decode(comm, case, prompt, options) -> the cache, after the prompt and then token by token
--   kv_cache.each_world(body)       body(comm) on worlds of the sizes in kv_cache.ranks
--   kv_cache.scrambled(rows, ranks) -> lists of rows
local mosaic = require "mosaic"
local close = require "spec.support.close"
local dense = require "spec.support.dense"
local fill = require "spec.support.fill"

local kv_cache = { ranks = { 1, 2, 3, 4, 5, 8 } }

function kv_cache.case(rows, options)
  local heads, kv_heads, d = options.heads or 2, options.kv_heads or 1, options.d or 3
  local dtype, batch = options.dtype or "f64", options.batch or 2
  local case = {
    rows = rows, mask = options.mask, scale = options.scale, batch = batch, kv_heads = kv_heads, d = d,
  }
  case.q = fill({ batch, heads, rows, d }, { seed = 1 }):to(dtype)
  case.k = fill({ batch, kv_heads, rows, d }, { seed = 2 }):to(dtype)
  case.v = fill({ batch, kv_heads, rows, d }, { seed = 3 }):to(dtype)
  local truth = dense.attention(case.q, case.k, case.v, { mask = case.mask, scale = case.scale })
  case.out = mosaic.tensor(truth.out, { dtype = "f64" }):view(case.q.shape)
  case.lse = mosaic.tensor(truth.lse, { dtype = "f64" }):view(batch, heads, rows)
  return case
end

function kv_cache.new(comm, case, options)
  local settings = {
    comm = comm, batch = case.batch, kv_heads = case.kv_heads, head_size = case.d, dtype = case.k.dtype,
    mask = case.mask, scale = case.scale,
  }
  for name, value in pairs(options or {}) do settings[name] = value end
  return mosaic.KVCache(settings)
end

--- Appends the next `count` rows of the case and compares their attention with the truth.
function kv_cache.step(cache, case, count, options, bound)
  local first = cache:len() + 1
  cache:append(case.k:narrow(3, first, count), case.v:narrow(3, first, count), options)
  local out, lse = cache:attend(case.q:narrow(3, first, count))
  close(out, case.out:narrow(3, first, count), bound)
  close(lse, case.lse:narrow(3, first, count), bound)
end

--- A prompt of `prompt` rows, then the others token by token.
function kv_cache.decode(comm, case, prompt, options)
  local cache = kv_cache.new(comm, case, options and options.cache)
  kv_cache.step(cache, case, prompt, options and options.prompt, options and options.bound)
  while cache:len() < case.rows do kv_cache.step(cache, case, 1, nil, options and options.bound) end
  return cache
end

function kv_cache.each_world(body)
  for _, size in ipairs(kv_cache.ranks) do mosaic.virtual(size, body) end
end

--- Rows dealt in a scrambled order, some rank getting none.
function kv_cache.scrambled(rows, ranks)
  local lists = {}
  for r = 1, ranks do lists[r] = {} end
  for i = 1, rows do
    local list = lists[(i * 7) % math.max(1, ranks - 1) + 1]
    table.insert(list, i % 2 == 0 and 1 or #list + 1, i)
  end
  return lists
end

return kv_cache
