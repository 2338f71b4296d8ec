--- New rows of a K/V cache: do they fit, who gets which, and in they go.
local arguments = require "mosaic.kv_cache.arguments"
local check = require "mosaic.check"
local context = require "mosaic.context"
local create = require "mosaic.tensor.create"
local partition = require "mosaic.partition"

local function check_append(where, cache, k, v, options)
  check.options(where, options, { "sharded", "layout", "indices", "first", "documents" })
  arguments.check_tensor(where, cache, "k", k)
  arguments.check_tensor(where, cache, "v", v)
  if k:size(2) ~= cache.kv_heads or v:size(2) ~= cache.kv_heads or v:size(3) ~= k:size(3) then
    check.fail("%s: k is %s and v is %s, the cache has %d key/value heads", where, k:describe(),
      v:describe(), cache.kv_heads)
  end
  local held, first = cache.deal.rows, options.first
  if first ~= nil and first ~= held + 1 then
    check.fail("%s: the first row is to be number %s, but the cache holds %d", where, check.show(first), held)
  end
  return {
    held = held, rows = options.sharded and "sharded" or k:size(3),
    layout = options.layout and check.one_of(where, "layout", options.layout, partition.LAYOUTS)
      or cache.deal.layout,
    indices = partition.fingerprint(options.indices),
    documents = arguments.check_documents(where, cache, options.documents, k:size(3)),
  }, { brings = k:size(3) }
end

--- Fails on every rank where one rank's rows do not fit. Returns how many rows each rank brings, and how
-- many new ones there are.
local function agree(cache, k, v, options)
  local where, counts, total = "KVCache: append", {}, 0
  local rows = cache.comm:together(where, function()
    return check_append(where, cache, k, v, options)
  end)
  for r, row in ipairs(rows) do
    counts[r] = row.brings
    total = total + row.brings
  end
  return counts, options.sharded and total or counts[1]
end

--- Who gets which of the new rows (see Deal:parts), given how many each rank brings.
local function parts_of(cache, counts, total, options)
  local ranks = cache.comm.size
  local parts = cache.deal:parts(total, {
    layout = options.layout, indices = options.indices, counts = options.sharded and counts or nil,
  })
  for rank = 0, options.sharded and ranks - 1 or -1 do
    if parts:count(rank) ~= counts[rank + 1] then
      check.fail("KVCache: append: rank %d brings %d rows, but layout '%s' of %d on %d ranks gives it %d",
        rank, counts[rank + 1], options.layout, total, ranks, parts:count(rank))
    end
  end
  return parts
end

--- The rows of x that the pieces name, along an axis.
local function pick(x, axis, pieces)
  local piece = pieces[1]
  if #pieces == 1 and piece[2] == 1 then return x:narrow(axis, piece[1], piece[3]) end
  return x:index_select(axis, create.runs(pieces, x.device))
end

--- The options with their layout: shards are, unless it is given, what mosaic.shard makes.
local function complete(options)
  local all = {}
  for name, value in pairs(options) do all[name] = value end
  all.layout = options.layout or options.indices and "indices"
    or options.sharded and context.layout() or nil
  return all
end

return function(cache, k, v, options)
  options = complete(options)
  local counts, total = agree(cache, k, v, options)
  local parts = parts_of(cache, counts, total, options)
  local own = parts:pieces(cache.comm.rank)
  local values = { k = k, v = v, positions = create.runs(own, cache.device) + cache.deal.rows }
  values.documents = arguments.documents(cache, options.documents)
  if not options.sharded then
    for name, axis in pairs { k = -2, v = -2, documents = -1 } do
      values[name] = values[name] and pick(values[name], axis, own)
    end
  end
  if cache.deal.rows == 0 then cache.store:start_documents(values.documents and cache.batch) end
  cache.store:append(values, parts:count(cache.comm.rank))
  cache.newest = cache.deal:append(parts, total)
  return cache
end

