--- Forward, backward, clipping and update of nanoTabPFN on tables of 150 x 5, 75 training rows.
local bench = require "bench"
local mosaic = require "mosaic"

--- Steps that do not count, of thousands: in the first ten LuaJIT's compiler takes 5 ms of each.
local WARM_UP = 15

local function step(place, tables, threads)
  local Trainer = require "nanotabpfn.trainer"
  local trainer = Trainer { model = require "nanotabpfn.model" {}, tables = tables, rows = 150, features = 5 }
  local batch = trainer:batch(0)
  mosaic.set_threads(threads)
  bench.compare {
    name = "nanoTabPFN training step" .. (threads > 1 and (" on %d threads"):format(threads) or ""),
    variant = "tables = " .. tables, wall = threads > 1,
    body = function() trainer:step(batch) end, rounds = tables > 8 and 5 or nil,
    warm_up = WARM_UP,
    rivals = { { peer = place.torch, case = ("train %d 150 5 75 %d"):format(tables, threads) } },
  }
  mosaic.set_threads(1)
end

return function(place)
  step(place, 8, 1)
  step(place, 32, 1)
  step(place, 8, 2)
end
