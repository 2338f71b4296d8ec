--- What moves memory: copies, transposed copies, sums; and a training step of nanoTabPFN.
local measure = require "gpu.measure"
local mosaic = require "mosaic"

local memory = {}

local BYTES = { f32 = 4, bf16 = 2 }

--- Bodies on two square matrices; bytes of an element read and written.
local kinds = {
  { "copy", 2, function(out, x) return function() out:copy_(x) end end },
  { "transpose", 2, function(out, x) return function() out:copy_(x:transpose(1, 2)) end end },
  { "add", 3, function(_, x, y) return function() return x + y end end },
}

function memory.streams(sizes)
  local side = sizes.side
  for _, dtype in ipairs { "f32", "bf16" } do
    for _, kind in ipairs(kinds) do
      local name, moved, make = unpack(kind)
      local body
      measure.compare {
        name = ("%s %s, %d x %d"):format(name, dtype, side, side), unit = "GB/s",
        scale = function(seconds) return moved * side * side * BYTES[dtype] / seconds * 1e-9 end,
        body = function()
          body = body or (function(matrix) return make(matrix(), matrix(), matrix()) end)(function()
            return mosaic.randn { side, side, dtype = dtype }
          end)
          body()
        end,
        peers = { { "torch", ("stream %s %s %d"):format(name, dtype, side) } },
      }
    end
  end
end

--- Forward, backward, clipping and update of nanoTabPFN on tables of 150 x 5, 75 training rows.
function memory.training(sizes)
  local step
  measure.compare {
    name = ("nanoTabPFN training step, %d tables"):format(sizes.tables), goal = 3,
    body = function()
      if not step then
        local Trainer = require "nanotabpfn.trainer"
        local trainer = Trainer { model = require "nanotabpfn.model" {}, tables = sizes.tables, rows = 150,
          features = 5 }
        local batch = trainer:batch(0)
        step = function() trainer:step(batch) end
      end
      step()
    end,
    peers = { { "torch eager", ("train %d 150 5 75"):format(sizes.tables) } },
  }
end

return memory
