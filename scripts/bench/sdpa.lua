--- What rows of attention have in common: operands, bodies and their multiply-adds.
local mosaic = require "mosaic"

local sdpa = {}

--- Forward's, a multiply-add counted twice: N^2 d for the scores, as many for the results.
function sdpa.flops(n, size) return 4 * n * n * size end

--- q, k, v and dout (1, heads, n, size).
function sdpa.operands(n, size, heads)
  local function noise() return mosaic.randn { 1, heads or 1, n, size } end
  return { q = noise(), k = noise(), v = noise(), dout = noise() }
end

--- Results go back to where the next ones come from.
local function free(...)
  for _, t in ipairs { ... } do t:free() end
end

function sdpa.forward(x, options)
  return function() free(mosaic.attention.forward(x.q, x.k, x.v, options)) end
end

--- The backward pass of one forward, which is done here.
function sdpa.backward(x, options)
  local out, lse = mosaic.attention.forward(x.q, x.k, x.v, options)
  return function()
    local delta = mosaic.attention.delta(x.dout, out)
    free(delta, mosaic.attention.backward(x.dout, lse, delta, x.q, x.k, x.v, options))
  end
end

return sdpa
