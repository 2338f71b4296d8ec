--- Attention through the library's front door, beside torch's scaled_dot_product_attention and onnxruntime's
-- MultiHeadAttention (the faster of its two operators for attention).
local bench = require "bench"
local sdpa = require "sdpa"

local N = 4096

local function rows(place, size)
  local x = sdpa.operands(N, size)
  local function row(direction, share, rivals)
    bench.compare {
      name = ("`sdpa` %s, N = %d"):format(direction, N), variant = "d = " .. size, unit = "GFLOP/s",
      work = share * sdpa.flops(N, size), body = sdpa[direction](x), rivals = rivals,
    }
  end
  local function case(direction) return ("%s %d %d"):format(direction, size, N) end
  row("forward", 1, {
    { peer = place.torch, case = case "forward" }, { peer = place.onnxruntime, case = case "forward" },
  })
  row("backward", 2.5, { { peer = place.torch, case = case "backward" } })
end

return function(place)
  for _, size in ipairs { 24, 64, 128 } do rows(place, size) end
end
