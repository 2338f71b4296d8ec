--- What every exact strategy must do: the sharded answer and its gradients are those of one rank.
--
--   contract(it, "ring", { ranks = {1, 2, 3}, layouts = {"contiguous"} })
--
-- declares the specs of a strategy (busted gives `it` to spec files only). The truth is
-- spec/support/dense.lua: plain Lua doubles.
local mosaic = require "mosaic"
local close = require "spec.support.close"
local dense = require "spec.support.dense"
local fill = require "spec.support.fill"
local partition = require "mosaic.partition"

local MASKS = {
  none = function() return {} end,
  causal = function() return { causal = true } end,
  window = function() return { window = { 3, 1 } } end,
  prefix = function(rows) return { prefix = math.floor(rows / 3) } end,
  documents = function(rows)
    local ids = {}
    for i = 1, rows do ids[i] = math.floor(i / 4) end
    return { documents = mosaic.tensor(ids, { dtype = "i64" }), causal = true }
  end,
  alibi = function(_, heads)
    local slopes = {}
    for h = 1, heads do slopes[h] = 2 ^ -h end
    return { alibi = slopes, causal = true }
  end,
  ["keep by a function"] = function(rows)
    return { keep = function(b, h, i, j) return j <= i and (i + j + b) % (h + 1) < 2 or j == rows end }
  end,
  ["score by a function"] = function()
    local function score(s, b, h, i, j)
      if (i - j) % 5 == b then return -math.huge end
      return 2 * math.tanh(s / 2) - h * math.abs(i - j) / 8
    end
    dense.slopes[score] = function(s) return 1 - math.tanh(s / 2) ^ 2 end
    return { score = score, prefix = 20 }
  end,
  keep = function(rows, heads)
    return { keep = fill { heads, rows, rows }:gt(0) }
  end,
  bias = function(rows, heads)
    return { bias = fill({ heads, rows, rows }, { seed = 6 }), prefix = math.ceil(rows / 2) }
  end,
}

--- A partition whose rows belong to nobody's neighbour: dealt in a scrambled, uneven order.
local function scrambled(rows, ranks)
  local indices = {}
  for r = 1, ranks do indices[r] = {} end
  for i = 1, rows do
    local list = indices[(i * 7 + math.floor(i / 3)) % ranks + 1]
    table.insert(list, i % 2 == 0 and 1 or #list + 1, i)
  end
  return indices
end

local function rows_of(t, axis, positions)
  return t:index_select(axis, mosaic.tensor(positions, { dtype = "i64" }))
end

--- The rank's part of a mask: what is sharded with the rows.
local function local_mask(mask, positions)
  local part = {}
  for name, value in pairs(mask) do part[name] = value end
  if mask.documents then part.documents = rows_of(mask.documents, 1, positions) end
  if mosaic.Tensor.is(mask.keep) then part.keep = rows_of(mask.keep, -2, positions) end
  if mask.bias then part.bias = rows_of(mask.bias, -2, positions):requires_grad_() end
  return part
end

--- Runs the strategy on its own shard; returns what must equal the truth's rows.
local function run_rank(comm, strategy, case, part)
  local positions = part:positions(comm.rank)
  local function leaf(whole) return rows_of(whole, -2, positions):requires_grad_() end
  local q, k, v = leaf(case.q), leaf(case.k), leaf(case.v)
  local mask = local_mask(case.mask, positions)
  local out, lse = mosaic.attend(q, k, v, {
    strategy = strategy, comm = comm, layout = part.layout, indices = part.indices, mask = mask,
  })
  mosaic.autograd.backward({ out, lse },
    { rows_of(case.dout, -2, positions), rows_of(case.dlse, -1, positions) })
  return {
    out = out, lse = lse, dq = q.grad, dk = k.grad, dv = v.grad, dbias = mask.bias and mask.bias.grad,
  }
end

local function new_case(rows, heads, kv_heads, d, mask)
  return {
    q = fill({ 2, heads, rows, d }, { seed = 1 }), k = fill({ 2, kv_heads, rows, d }, { seed = 2 }),
    v = fill({ 2, kv_heads, rows, d }, { seed = 3 }), dout = fill({ 2, heads, rows, d }, { seed = 4 }),
    dlse = fill({ 2, heads, rows }, { seed = 5 }), mask = mask,
  }
end

local function truth_of(case)
  local options = { mask = case.mask }
  local forward = dense.attention(case.q, case.k, case.v, options)
  local g = dense.gradients(case.q, case.k, case.v, case.dout:flat(), case.dlse:flat(), options)
  local function like(list, t) return mosaic.tensor(list, { dtype = "f64" }):view(t.shape) end
  return {
    out = like(forward.out, case.q), lse = like(forward.lse, case.dlse),
    dq = like(g.dq, case.q), dk = like(g.dk, case.k), dv = like(g.dv, case.v),
    dbias = case.mask.bias and like(g.dbias, case.mask.bias),
  }
end

--- Every rank's result against the truth's rows.
local function check_ranks(results, truth, part)
  for rank = 0, part.ranks - 1 do
    local positions = part:positions(rank)
    for what, whole in pairs(truth) do
      close(results[rank + 1][what], rows_of(whole, what == "lse" and -1 or -2, positions), 1e-12)
    end
  end
end

local function expect_exact(strategy, part, case, truth)
  local results = mosaic.comm.spawn(part.ranks, function(comm)
    return run_rank(comm, strategy, case, part)
  end)
  check_ranks(results, truth, part)
end

local function partition_for(layout, rows, ranks)
  return partition.new {
    layout = layout, rows = rows, ranks = ranks,
    indices = layout == "indices" and scrambled(rows, ranks) or nil,
  }
end

--- strategy: whatever names one; for a table see strategy/init.lua. options: ranks, layouts, lengths, heads
-- ({ of queries, of keys }).
return function(it, strategy, options)
  options = options or {}
  local name = mosaic.strategy.get(strategy).text
  local ranks = options.ranks or { 1, 2, 3, 4, 5, 8 }
  local layouts = options.layouts or partition.LAYOUTS
  local lengths = options.lengths or { 0, 1, 3, 13, 24 }
  for mask_name, make_mask in pairs(options.masks or MASKS) do
    it(("equals one rank, forward and gradients: %s, mask %s"):format(name, mask_name), function()
      for _, rows in ipairs(lengths) do
        local heads, kv_heads = unpack(options.heads or { 2, 1 + rows % 2 })
        local case = new_case(rows, heads, kv_heads, 3, make_mask(rows, heads))
        local truth = truth_of(case)
        for _, size in ipairs(ranks) do
          for _, layout in ipairs(layouts) do
            expect_exact(strategy, partition_for(layout, rows, size), case, truth)
          end
        end
      end
    end)
  end
end
