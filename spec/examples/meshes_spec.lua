local program = require "spec.support.program"

local function run(example, options)
  local result = program(("--virtual 4 examples/%s.lua %s"):format(example, options or ""))
  assert.equal(0, result.status, result.err)
  assert.is_true(result.seconds < 4, result.seconds .. " s")
  return result.out
end

describe("the examples of ranks as a mesh", function()
  it("composed 2 x 2: exact, and less sent than by a ring of four", function()
    local out = run "composed_2x2"
    local composed, ring = out:match "2 x 2 +error %S+ (%d+) bytes.*ring +error %S+ (%d+) bytes"
    assert.is_true(tonumber(composed) < tonumber(ring), out)
    run("composed_2x2", "--seq-parallel mesh2d --rows 5")
    local alone = program "examples/composed_2x2.lua"
    assert.truthy(alone.err:find("a mesh of 2 x 2 needs 4 ranks, not 1", 1, true), alone.err)
  end)

  it("hierarchical: K/V twice and their gradients once over the slow link, whatever is inside", function()
    local out, count = run("hierarchical", "--rows 40"), 0
    for sent in out:gmatch "over the slow link: (%d+)" do
      count = count + 1
      assert.equal(3 * 2 * 40 * 32 * 4, tonumber(sent)) -- K/V forward, K/V and gradients backward
    end
    assert.equal(3, count)
  end)

  it("rshard: exact, with what every node could tell", function()
    local out = run("rshard", "--rows 40")
    assert.truthy(out:find "compute 4 +10 +4 +4 +infeasible", out)
    assert.truthy(out:find "rshard +error", out)
  end)
end)
