--- Every strategy, forward and backward: CPU time of all of 2 or 4 virtual ranks on one thread, beside the
-- local strategy on the whole problem: at 1 sharding costs nothing. Those that are approximate do less.
local bench = require "bench"
local mosaic = require "mosaic"
local sdpa = require "sdpa"

local N, HEADS, SIZE = 4096, 4, 24

local function operands(batch, rows)
  local function noise() return mosaic.randn { batch, HEADS, rows, SIZE } end
  return { q = noise(), k = noise(), v = noise(), dout = noise() }
end

--- Forward and backward on one rank.
local function train(x, options)
  local function leaf(t) return t:detach():requires_grad_() end
  local out = mosaic.attend(leaf(x.q), leaf(x.k), leaf(x.v), options)
  out:backward(x.dout)
end

--- All of `ranks`, one after the other.
local function on_ranks(ranks, batch, options)
  local shards = {}
  for rank = 0, ranks - 1 do shards[rank] = operands(batch, N / ranks) end
  return function()
    mosaic.virtual(ranks, function(comm)
      local own = { comm = comm }
      for name, value in pairs(options) do own[name] = value end
      train(shards[comm.rank], own)
    end)
  end
end

local function row(name, ranks)
  local body = mosaic.strategy.get(name).body
  local wants = body.verify or {} -- those of the options that it does not take all of
  local batch = wants.batch and wants.batch(ranks) or 1
  local mask = wants.mask == "causal" and { causal = true } or nil
  local whole = operands(batch, N)
  local flops = 3.5 * batch * HEADS * sdpa.flops(N, SIZE) * (mask and 0.5 or 1)
  bench.compare {
    name = ("strategy `%s`%s"):format(name, mask and ", causal" or ""), variant = "ranks = " .. ranks,
    note = body.approximate and "approximate", unit = "GFLOP/s", work = flops, rounds = 5,
    body = on_ranks(ranks, batch, { strategy = name, layout = wants.layout or "contiguous", mask = mask }),
    rivals = { {
      name = "`local`", body = function() train(whole, { strategy = "local", mask = mask }) end,
    } },
  }
end

--- Rows before these have left memory of other sizes: until there is enough of theirs, pages are fresh.
local function warm_up()
  local whole, body = operands(1, N), on_ranks(2, 1, { strategy = "ring", layout = "contiguous" })
  for _ = 1, bench.rounds() do
    train(whole, { strategy = "local" })
    body()
  end
end

return function()
  warm_up()
  for _, name in ipairs(mosaic.strategy.names()) do
    if name ~= "local" then
      for _, ranks in ipairs { 2, 4 } do row(name, ranks) end
    end
  end
end
