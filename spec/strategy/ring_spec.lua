local mosaic = require "mosaic"
local contract = require "spec.support.contract"

--- The most that a rank holds in forward and in backward, in units of n E b (one block of f32).
local function peaks(ranks, strategy)
  local heads, rows, d = 2, 512, 64
  local block = heads * rows * d * 4
  local results = mosaic.virtual(ranks, function(comm)
    local function held() return mosaic.memory().rank_live_bytes end
    local function peak(before) return (mosaic.memory().rank_peak_bytes - before) / block end
    mosaic.collect()
    local before, x = held(), {}
    for i = 1, 3 do
      x[i] = mosaic.rand { heads, rows, d, generator = mosaic.generator(comm.rank + i) }:requires_grad_()
    end
    mosaic.collect()
    mosaic.reset_peak_memory()
    local out = mosaic.attend(x[1], x[2], x[3], { strategy = strategy, comm = comm })
    local forward, dout = peak(before), out:detach()
    mosaic.collect()
    mosaic.reset_peak_memory()
    out:backward(dout)
    return { forward, peak(before) }
  end)
  local forward, backward = 0, 0
  for _, peak in ipairs(results) do
    forward, backward = math.max(forward, peak[1]), math.max(backward, peak[2])
  end
  return forward, backward
end

describe("ring", function()
  contract(it, "ring")
  contract(it, { "ring", directions = 2 }, { ranks = { 2, 3, 4 } })

  it("holds at most 1.3 x 8 n E b in forward, and no more on more ranks", function()
    for _, directions in ipairs { 1, 2 } do
      local strategy = { "ring", directions = directions }
      local of_two, back_two = peaks(2, strategy)
      local of_four, back_four = peaks(4, strategy)
      local of_eight, back_eight = peaks(8, strategy)
      assert.is_true(math.max(of_two, of_four, of_eight) <= 1.3 * 8, of_eight)
      assert.is_true(of_eight <= 1.02 * of_four, of_eight)
      assert.is_true(back_eight <= 1.02 * back_four and back_two <= back_four, back_eight)
      assert.is_true(back_four <= 20, back_four)
    end
  end)

  it("computes again in backward what an inner strategy without a backward of its own did", function()
    local attend = mosaic.strategy.get("local").body.attend
    contract(function(_, body) body() end, function(comm, q, k, v, plan)
      return mosaic.rotate(comm, q, k, v, plan, { inner = function(...) return attend(...) end })
    end, { ranks = { 3 }, lengths = { 0, 7, 13 } })
  end)
end)

describe("local", function()
  contract(it, "local", { ranks = { 1 } })
end)
