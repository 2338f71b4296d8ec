--- Attention between the columns of table rows, 4 heads of 24, on views of the projection as the model has
-- them: forward and backward.
local bench = require "bench"
local mosaic = require "mosaic"

local function row(place, rows, columns, threads)
  local x = mosaic.randn { rows, columns, 3, 4, 24 }
  local function part(i) return x:select(3, i):permute(1, 3, 2, 4) end
  local q, k, v = part(1), part(2), part(3)
  local dout = mosaic.randn { rows, columns, 4, 24 }:permute(1, 3, 2, 4)
  mosaic.set_threads(threads)
  bench.compare {
    name = ("attention over %d features of %d rows, E = 96, forward and backward"):format(columns, rows),
    variant = ("threads = %d"):format(threads), wall = threads > 1, rounds = 3,
    body = function()
      local out, lse = mosaic.attention.forward(q, k, v)
      local delta = mosaic.attention.delta(dout, out)
      local results = { out, lse, delta, mosaic.attention.backward(dout, lse, delta, q, k, v) }
      for _, t in ipairs(results) do t:free() end
    end,
    rivals = { { peer = place.torch, case = ("features %d %d %d"):format(rows, columns, threads) } },
  }
  for _, t in ipairs { x, dout } do t:free() end
  mosaic.set_threads(1)
end

return function(place)
  row(place, 150000, 5, 1)
  row(place, 150000, 5, 2)
end
