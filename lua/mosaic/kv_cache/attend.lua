--- Queries of the newest rows of a K/V cache: do they fit, and what do they see?
local arguments = require "mosaic.kv_cache.arguments"
local attention = require "mosaic.attention"
local check = require "mosaic.check"
local create = require "mosaic.tensor.create"
local everywhere = require "mosaic.kv_cache.everywhere"
local Plan = require "mosaic.plan"
local strategy = require "mosaic.strategy"
local tape = require "mosaic.autograd.tape"
local values = require "mosaic.values"

--- Queries on every rank: no more than there are keys, and with ids if these have some.
local function check_whole(where, cache, q, options)
  if options.strategy ~= nil then
    check.fail("%s: a strategy is for sharded queries; these attend where the keys are", where)
  elseif q:size(3) > cache.deal.rows then
    check.fail("%s: q has %d rows, the cache holds %d: append keys and values first", where, q:size(3),
      cache.deal.rows)
  end
  local documents = arguments.check_documents(where, cache, options.documents, q:size(3))
  return { held = cache.deal.rows, q = q:describe(), documents = documents }
end

--- Queries of the newest rows, whose ids are known: as many as this rank got of them.
local function check_sharded(where, cache, q, options, wanted)
  if options.documents ~= nil then
    check.fail("%s: sharded queries have the documents of their rows; there are none to give", where)
  elseif not cache.newest then
    check.fail("%s: sharded queries are those of the last append, and there was none since", where)
  elseif cache.newest:count(cache.comm.rank) ~= q:size(3) then
    check.fail("%s: q has %d rows, but this rank got %d in the last append", where, q:size(3),
      cache.newest:count(cache.comm.rank))
  end
  return { held = cache.deal.rows, q = "sharded", heads = q:size(2), strategy = wanted.text }
end

--- Fails on every rank where one rank's queries do not fit. Returns the strategy for sharded ones.
local function agree(cache, q, options)
  local where, wanted = "KVCache: attend", nil
  cache.comm:together(where, function()
    check.options(where, options, { "documents", "sharded", "strategy" })
    arguments.check_tensor(where, cache, "q", q)
    if q:size(2) % cache.kv_heads ~= 0 then
      check.fail("%s: q is %s, whose heads are not a multiple of %d key/value heads", where, q:describe(),
        cache.kv_heads)
    end
    if not options.sharded then return check_whole(where, cache, q, options) end
    wanted = strategy.get(options.strategy or "ring")
    return check_sharded(where, cache, q, options, wanted)
  end)
  return wanted
end

--- The mask with documents.
local function mask_with(cache, documents)
  local mask = { documents = documents }
  for name, value in pairs(cache.mask) do mask[name] = value end
  return mask
end

--- Queries that all ranks hold, against this rank's keys.
local function attend_whole(cache, q, ids)
  local count, documents = q:size(-2), nil
  if ids then documents = { q = ids, k = cache.store:get "documents" } end
  return attention.forward(q, cache.store:get "k", cache.store:get "v", {
    scale = cache.scale, mask = mask_with(cache, documents),
    q_positions = create.runs({ { cache.deal.rows - count + 1, 1, count } }, cache.device),
    k_positions = cache.store:get "positions",
  })
end

--- The ids of all rows by number, on every rank.
local function all_documents(cache, keys)
  if not cache.store.tensors.documents then return nil end
  local ids, ranks = cache.store:get "documents", {}
  for r = 1, keys.ranks do ranks[r] = r - 1 end
  ids = cache.comm:all_gather(values.on_cpu(ids), -1, keys:row_counts())
    :index_select(-1, create.runs(keys:joined(ranks), "cpu"):argsort(1))
  ids = values.send(ids, cache.device)
  return { q = ids, k = ids }
end

--- This rank's queries of the newest rows, against the keys of all ranks.
local function attend_sharded(cache, q, wanted)
  local k, v, keys = cache.store:get "k", cache.store:get "v", cache.deal:snapshot()
  local plan = Plan {
    comm = cache.comm, queries = cache.newest, keys = keys, mask = cache.mask, scale = cache.scale,
    options = wanted.options, device = cache.device,
  }
  strategy.check(wanted, q, k, v, plan)
  plan = plan:with { mask = mask_with(cache, all_documents(cache, keys)) }
  return tape.no_grad(strategy.run, wanted, cache.comm, q, k, v, plan)
end

return function(cache, q, options)
  local wanted = agree(cache, q, options)
  if options.sharded then return attend_sharded(cache, q, wanted) end
  return everywhere(cache.comm, attend_whole(cache, q, arguments.documents(cache, options.documents)))
end
