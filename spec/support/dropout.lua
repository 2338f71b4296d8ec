--- The truth about dropout: Philox4x32-10 in LuaJIT's 64-bit integers, one pair after the other.
--
--   local kept = dropout(options, q.shape)
--   kept(b, h, i, j)   0 or 1/(1-p) for flat batch entry b and head h of the call (from 0), positions i and j
local bit = require "bit"
local numbers = require "spec.support.numbers"

local LOW = 0xffffffffULL

--- The four words of counter (c0, c1, c2, c3) under the seed.
local function philox(seed, c0, c1, c2, c3)
  local k0, k1 = bit.band(seed, LOW), bit.rshift(seed, 32)
  for _ = 1, 10 do
    local p0, p2 = 0xd2511f53ULL * c0, 0xcd9e8d57ULL * c2
    c0, c1, c2, c3 = bit.bxor(bit.rshift(p2, 32), c1, k0), bit.band(p2, LOW),
      bit.bxor(bit.rshift(p0, 32), c3, k1), bit.band(p0, LOW)
    k0, k1 = bit.band(k0 + 0x9e3779b9ULL, LOW), bit.band(k1 + 0xbb67ae85ULL, LOW)
  end
  return { [0] = c0, c1, c2, c3 }
end

return function(options, shape)
  local p = options.dropout and options.dropout.p or 0
  if p == 0 then return function() return 1 end end
  local seed = bit.bxor(0ULL + options.dropout.seed, 0x7f4a7c1564726f70ULL)
  return function(b, h, i, j)
    local batch, head = numbers(options, shape, b, h)
    local words = philox(seed, 0ULL + (i - 1), 0ULL + math.floor((j - 1) / 4),
      0ULL + batch - 1, 0ULL + head - 1)
    return tonumber(words[(j - 1) % 4]) < p * 2 ^ 32 and 0 or 1 / (1 - p)
  end
end
