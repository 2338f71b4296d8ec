--- What the tape costs: chains of operations on 4 x 4, per operation, forward alone and with backward; the
-- same additions unrecorded, too. The chains are short and repeated, as steps of a training are.
local bench = require "bench"
local mosaic = require "mosaic"

local LENGTH, TIMES = 1000, 50

return function(place)
  local x = mosaic.randn { 4, 4, requires_grad = true }
  local y = mosaic.ones { 4, 4, requires_grad = true }
  local start = x:detach()
  local function chain(from, back, step)
    return function()
      for _ = 1, TIMES do
        local z = from
        for _ = 1, LENGTH do z = step(z) end
        if back then z:backward(start) end
        x.grad, y.grad = nil, nil
      end
    end
  end
  local function add(z) return (z:add(y)) end
  local function mul(z) return (z:mul(y)) end
  local function row(variant, case, body)
    bench.compare {
      name = "one operation on 4 x 4", variant = variant, unit = "us", work = LENGTH * TIMES, body = body,
      rivals = { { peer = place.torch, case = ("chain %s %d"):format(case, LENGTH), work = LENGTH } },
    }
  end
  local unrecorded = chain(start, false, add)
  row("add unrecorded", "add unrecorded", function() mosaic.no_grad(unrecorded) end)
  row("add", "add forward", chain(x, false, add))
  row("add and its backward", "add backward", chain(x, true, add))
  row("mul and its backward", "mul backward", chain(x, true, mul))
end
