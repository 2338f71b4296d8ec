local close = require "spec.support.close"
local program = require "spec.support.program"

--- Runs the example; returns its losses and what it wrote.
local function run(ranks, options)
  local result = program(("--virtual %d examples/data_sequence_parallel.lua --every 5 %s"):format(ranks,
    options))
  assert.equal(0, result.status, result.err)
  local losses = {}
  for loss in result.out:gmatch "loss (%S+)" do losses[#losses + 1] = tonumber(loss) end
  return losses, result.out
end

describe("the example of data parallel x sequence parallel", function()
  it("has the losses of two ranks on 2 x 2 and 2 x 3, and learns", function()
    local expected = run(2, "--steps 40 --sp-size 1")
    assert.equal(9, #expected)
    assert.is_true(expected[9] < 0.5 * expected[1])
    for _, sp in ipairs { 2, 3 } do
      local losses, out = run(2 * sp, "--steps 40 --sp-size " .. sp)
      close(losses, expected, 2e-3)
      assert.truthy(out:find(("dp 2 x sp %d, layout zigzag"):format(sp), 1, true), out)
      assert.truthy(out:find(("all %d ranks hold the same parameters: yes"):format(2 * sp), 1, true), out)
    end
  end)

  it("runs on one rank, and says which sizes do not fit", function()
    local _, out = run(1, "--steps 5")
    assert.truthy(out:find("all 1 ranks hold the same parameters: yes", 1, true), out)
    local result = program "--virtual 4 examples/data_sequence_parallel.lua --sp-size 3"
    assert.equal(1, result.status)
    assert.truthy(result.err:find("--sp-size 3 does not divide 4 ranks", 1, true), result.err)
  end)
end)
