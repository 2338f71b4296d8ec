--- Attention between bf16 operands: over our own between f32, and beside torch's.
local bench = require "bench"
local sdpa = require "sdpa"

local N = 4096

local function halves(x)
  return { q = x.q:to "bf16", k = x.k:to "bf16", v = x.v:to "bf16" }
end

return function(place)
  for _, size in ipairs { 24, 64, 128 } do
    local x = sdpa.operands(N, size)
    local function row(name, rival)
      bench.compare {
        name = name, variant = "d = " .. size, unit = "GFLOP/s", work = sdpa.flops(N, size),
        body = sdpa.forward(halves(x)), rivals = { rival },
      }
    end
    row("`sdpa` forward of bf16, N = 4096", { name = "own f32", body = sdpa.forward(x) })
    if place.torch then
      row("the same beside torch", { peer = place.torch, case = ("forward %d %d bf16"):format(size, N) })
    end
  end
end
