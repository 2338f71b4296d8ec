--- Numbers that are hard on softmax: the running maximum grows with every key, and logits of +-300, beside
-- attention on noise.
local bench = require "bench"
local mosaic = require "mosaic"
local sdpa = require "sdpa"

local N, LARGEST = 4096, 300

--- Logits from 0 to LARGEST, growing along the keys.
local function growing(size)
  local x = sdpa.operands(N, size)
  local ramp = mosaic.arange(1, N, { dtype = "f32" }):view(N, 1):mul(LARGEST / N / math.sqrt(size))
  return { q = mosaic.ones { 1, 1, N, size }, k = ramp:expand { 1, 1, N, size }:contiguous(), v = x.v }
end

--- Logits of about LARGEST with either sign.
local function large(size)
  local x = sdpa.operands(N, size)
  return { q = x.q:mul(LARGEST / 3), k = x.k, v = x.v }
end

return function()
  for _, size in ipairs { 24, 64 } do
    local noise = sdpa.forward(sdpa.operands(N, size))
    for _, hard in ipairs { { "maxima that grow along the keys", growing }, { "logits of +-300", large } } do
      bench.compare {
        name = "`sdpa` forward, " .. hard[1], variant = "d = " .. size, unit = "GFLOP/s",
        work = sdpa.flops(N, size), body = sdpa.forward(hard[2](size)),
        rivals = { { name = "own, noise", body = noise } },
      }
    end
  end
end
