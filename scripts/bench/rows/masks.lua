--- What masks cost: causal beside half of the full time; causal, bias and dropout beside torch's.
local bench = require "bench"
local mosaic = require "mosaic"
local sdpa = require "sdpa"

local SIZE = 64

--- Forward and backward.
local function both(x, options)
  local forward, backward = sdpa.forward(x, options), sdpa.backward(x, options)
  return function()
    forward()
    backward()
  end
end

local function causal_over_half(n)
  local x = sdpa.operands(n, SIZE)
  for _, direction in ipairs { "forward", "backward" } do
    bench.compare {
      name = ("causal %s, N = %d, over half of the full time"):format(direction, n), variant = "d = " .. SIZE,
      unit = "ms", body = sdpa[direction](x, { mask = { causal = true } }), work = 1,
      rivals = { { name = "half of the full", body = sdpa[direction](x), work = 2 } },
    }
  end
end

local function beside_torch(place, n, name, options)
  local flops = sdpa.flops(n, SIZE) * 3.5 * (name == "causal" and 0.5 or 1)
  bench.compare {
    name = ("`sdpa` forward and backward, N = %d, d = %d"):format(n, SIZE), variant = name, unit = "GFLOP/s",
    work = flops, body = both(sdpa.operands(n, SIZE), options),
    rivals = { { peer = place.torch, case = ("masked %d %d %s"):format(SIZE, n, name) } },
  }
end

return function(place)
  causal_over_half(4096)
  beside_torch(place, 2048, "causal", { mask = { causal = true } })
  beside_torch(place, 2048, "bias", { mask = { bias = mosaic.randn { 2048, 2048 } } })
  beside_torch(place, 2048, "dropout", { dropout = { p = 0.1, seed = 1 } })
end
