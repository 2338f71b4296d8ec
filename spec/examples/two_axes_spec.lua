local close = require "spec.support.close"
local program = require "spec.support.program"

local function run(ranks, arguments)
  local result = program(("--virtual %d examples/%s"):format(ranks, arguments))
  assert.equal(0, result.status, result.err)
  return result.out
end

describe("the two axes of a table", function()
  it("teach a model the same on one rank and on three", function()
    local function losses_on(ranks)
      local losses = {}
      local text = run(ranks, "two_axes.lua --steps 30")
      for loss in text:gmatch "loss (%S+)" do losses[#losses + 1] = tonumber(loss) end
      return losses
    end
    local one = losses_on(1)
    assert.equal(3, #one)
    assert.is_true(one[3] < 0.3 * one[1])
    close(losses_on(3), one, 2e-4)
  end)

  it("take long tables: each rank draws, computes and sends its share", function()
    local size = "rows_150000.lua --rows 1201 --features 3 --embed-dim 12 --num-heads 2 --mlp-hidden 8"
    local one, rows, sent, three = run(1, size), {}, {}, run(3, size)
    assert.equal(one:match "loss.*", three:match "loss.*")
    assert.is_true(tonumber(one:match "gradient (%S+)") > 0.001)
    for rank, n, forward in three:gmatch "rank (%d): (%d+) rows; forward %S+ s, (%S+) MB sent" do
      rows[tonumber(rank)], sent[tonumber(rank)] = tonumber(n), tonumber(forward)
    end
    assert.same({ [0] = 401, 400, 400 }, rows)
    for rank = 0, 2 do -- its own keys and values, then those of the rank before
      local expected = (rows[rank] + rows[(rank - 1) % 3]) * 2 * 3 * 12 * 4 / 1e6
      assert.is_true(math.abs(sent[rank] - expected) < 0.002, ("%g MB, not %g"):format(sent[rank], expected))
    end
  end)

  it("may show the other rows only some", function()
    local size = "rows_150000.lua --rows 60 --features 2 --embed-dim 8 --num-heads 2 --train-rows 25"
    assert.equal(run(1, size):match "loss.*", run(4, size):match "loss.*")
  end)
end)
