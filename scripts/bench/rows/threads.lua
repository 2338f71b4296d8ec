--- Two threads beside one, by the clock on the wall: at 2 nothing is lost.
local bench = require "bench"
local mosaic = require "mosaic"
local sdpa = require "sdpa"

local function row(name, variant, body)
  local function on(threads)
    return function()
      mosaic.set_threads(threads)
      body()
      mosaic.set_threads(1)
    end
  end
  bench.compare {
    name = name .. ", two threads over one", variant = variant, wall = true, unit = "ms", body = on(2),
    rivals = { { name = "one thread", body = on(1) } },
  }
end

return function()
  for _, size in ipairs { 24, 64 } do
    local x = sdpa.operands(4096, size)
    row("attention forward, N = 4096", "d = " .. size, sdpa.forward(x))
    row("attention backward, N = 4096", "d = " .. size, sdpa.backward(x))
  end
  local Trainer = require "nanotabpfn.trainer"
  local trainer = Trainer { model = require "nanotabpfn.model" {}, tables = 8, rows = 150, features = 5 }
  local batch = trainer:batch(0)
  row("nanoTabPFN training step", "tables = 8", function() trainer:step(batch) end)
end
