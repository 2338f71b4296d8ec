--- Long sequences: the rate at N = 65,536 beside that at 4096, and LongNet's pattern beside its share of a
-- dense call.
local bench = require "bench"
local mosaic = require "mosaic"
local sdpa = require "sdpa"

local function far(n, size)
  local short = sdpa.forward(sdpa.operands(4096, size))
  bench.compare {
    name = ("attention forward, N = %d"):format(n), variant = "d = " .. size, unit = "GFLOP/s", rounds = 3,
    work = sdpa.flops(n, size), body = sdpa.forward(sdpa.operands(n, size)),
    rivals = { {
      name = "own, N = 4096", work = 64 * sdpa.flops(4096, size),
      body = function()
        for _ = 1, 64 do short() end
      end,
    } },
  }
end

--- All rows of some heads; the rival's work is as many multiply-adds as the pattern has.
local function dilated(n, size, heads)
  local segments, rates, share = { 2048, 8192, 32768 }, { 1, 4, 16 }, 0
  for i, w in ipairs(segments) do share = share + w / rates[i] ^ 2 / n end
  local x, one = sdpa.operands(n, size, heads), sdpa.operands(n, size)
  local options = {
    strategy = { "dilated", segments = segments, rates = rates }, comm = mosaic.comm.alone(),
  }
  bench.compare {
    name = ("`dilated` forward, N = %d, %.1f %% of dense"):format(n, 100 * share), variant = "d = " .. size,
    note = "approximate", unit = "GFLOP/s", work = share * heads * sdpa.flops(n, size), rounds = 3,
    body = function() mosaic.no_grad(mosaic.attend, x.q, x.k, x.v, options) end,
    rivals = { { name = "own, dense", body = sdpa.forward(one), work = sdpa.flops(n, size) } },
  }
end

return function()
  far(65536, 24)
  dilated(32768, 64, 4)
end
