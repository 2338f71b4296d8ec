--- `odd_masks(it, strategy, { ranks = })`: masks of unusual shapes and dropout, under a strategy that moves
-- queries, heads or batch entries. The truth is mosaic.sdpa on one rank, in f64.
local mosaic = require "mosaic"
local close = require "spec.support.close"
local fill = require "spec.support.fill"
local rows_of = require "spec.support.rows_of"

local ROWS, HEADS, KV_HEADS = 13, 6, 2

--- Name -> function that gives options of attend; tensors have the rows of all queries.
local CASES = {
  ["keep for each batch entry"] = function()
    return { mask = { keep = fill({ 2, 3, 1, ROWS, ROWS }, { seed = 7 }):gt(-0.2) } }
  end,
  ["keep for padding keys: one row"] = function()
    return { mask = { keep = fill({ 1, ROWS }, { seed = 8 }):gt(-0.5) } }
  end,
  ["a bias of keys only"] = function() return { mask = { bias = fill({ ROWS }, { seed = 9 }) } } end,
  ["a bias of one row for each head"] = function()
    return { mask = { causal = true, bias = fill({ HEADS, 1, ROWS }, { seed = 9 }) } }
  end,
  ["a bias of one column"] = function()
    return { mask = { bias = fill({ 3, HEADS, ROWS, 1 }, { seed = 9 }) } }
  end,
  ["a bias of all batch entries"] = function()
    return { mask = { prefix = 9, bias = fill({ 2, 3, HEADS, ROWS, ROWS }, { seed = 9 }) } }
  end,
  ["other documents in every batch entry"] = function()
    local ids = fill({ 2, 3, ROWS }, { seed = 10 }):gt(0):to "i64"
    return { mask = { documents = { q = ids, k = ids } } }
  end,
  ["one slope for all heads, and a scale"] = function()
    return { mask = { alibi = { 0.3 } }, scale = 0.7 }
  end,
  ["dropout"] = function()
    return { mask = { causal = true }, dropout = { p = 0.3, seed = 5 }, head_from = 3, batch_from = { 2, 1 },
      batch_total = 5 }
  end,
}

local function leaf(x) return x:detach():requires_grad_() end

--- What belongs to this rank's rows of the mask.
local function local_mask(mask, positions)
  local own = {}
  for name, value in pairs(mask) do own[name] = value end
  for _, name in ipairs { "keep", "bias" } do
    local x = mask[name]
    if x and x.ndim > 1 and x:size(-2) > 1 then own[name] = rows_of(x, -2, positions) end
  end
  if mask.documents then
    local ids = rows_of(mask.documents.q, -1, positions)
    own.documents = { q = ids, k = ids }
  end
  own.bias = own.bias and leaf(own.bias)
  return own
end

--- All results with gradients, as attend (or sdpa) gives them.
local function run(attend, x, options, mask)
  local all = {}
  for name, value in pairs(options) do all[name] = value end
  all.mask = mask
  local q, k, v = leaf(x.q), leaf(x.k), leaf(x.v)
  local out, lse = attend(q, k, v, all)
  mosaic.autograd.backward({ out, lse }, { x.dout, x.dlse })
  return { out = out:detach(), lse = lse:detach(), dq = q.grad, dk = k.grad, dv = v.grad,
    dbias = mask.bias and mask.bias.grad }
end

local function operands()
  local x = {}
  for i, name in ipairs { "q", "k", "v", "dout" } do
    local heads = (name == "k" or name == "v") and KV_HEADS or HEADS
    x[name] = fill({ 2, 3, heads, ROWS, 4 }, { seed = i })
  end
  x.dlse = fill({ 2, 3, HEADS, ROWS }, { seed = 5 })
  return x
end

local function shard_run(comm, strategy, x, options, part)
  local positions, own = part:positions(comm.rank), {}
  for name, whole in pairs(x) do own[name] = rows_of(whole, name == "dlse" and -1 or -2, positions) end
  return run(function(q, k, v, all)
    all.strategy, all.comm, all.layout = strategy, comm, part.layout
    return mosaic.attend(q, k, v, all)
  end, own, options, local_mask(options.mask, positions))
end

--- Gradients of one row that all ranks share add up.
local function check_bias(results, whole, part)
  if whole.ndim > 1 and whole:size(-2) > 1 then
    for rank, result in ipairs(results) do
      close(result.dbias, rows_of(whole, -2, part:positions(rank - 1)))
    end
    return
  end
  local sum = whole:zeros_like()
  for _, result in ipairs(results) do sum:add_(result.dbias) end
  close(sum, whole)
end

return function(it, strategy, settings)
  for name, make in pairs(CASES) do
    it("equals one rank: " .. name, function()
      local x, options = operands(), make()
      local truth = run(mosaic.sdpa, x, options, local_mask(options.mask, mosaic.partition.new {
        rows = ROWS, ranks = 1 }:positions(0)))
      for _, ranks in ipairs(settings.ranks) do
        local part = mosaic.partition.new { rows = ROWS, ranks = ranks, layout = "zigzag" }
        local results = mosaic.virtual(ranks, function(comm)
          return shard_run(comm, strategy, x, options, part)
        end)
        for what, whole in pairs(truth) do
          for rank = 0, what == "dbias" and -1 or ranks - 1 do
            local axis = what == "lse" and -1 or -2
            close(results[rank + 1][what], rows_of(whole, axis, part:positions(rank)))
          end
        end
        if truth.dbias then check_bias(results, truth.dbias, part) end
      end
    end)
  end
end
