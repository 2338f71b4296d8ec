--- Attention between bf16 operands: over our own between f32, and beside torch's.
local bench = require "bench"
local sdpa = require "sdpa"

local N = 4096

local function halves(x)
  return { q = x.q:to "bf16", k = x.k:to "bf16", v = x.v:to "bf16", dout = x.dout }
end

local function rows(place, direction, share, size)
  local x = sdpa.operands(N, size)
  local function row(beside, rival)
    bench.compare {
      name = ("`sdpa` %s of bf16, N = %d%s"):format(direction, N, beside), variant = "d = " .. size,
      unit = "GFLOP/s", work = share * sdpa.flops(N, size), body = sdpa[direction](halves(x)),
      rivals = { rival },
    }
  end
  row("", { name = "own f32", body = sdpa[direction](x) })
  if place.torch then
    row(", beside torch", { peer = place.torch, case = ("%s %d %d bf16"):format(direction, size, N) })
  end
end

return function(place)
  for _, size in ipairs { 24, 64, 128 } do
    rows(place, "forward", 1, size)
    rows(place, "backward", 2.5, size)
  end
end
