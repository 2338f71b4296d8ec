local program = require "spec.support.program"

local function run(example, options)
  local result = program(("--virtual 4 examples/%s.lua %s"):format(example, options or ""))
  assert.equal(0, result.status, result.err)
  return result.out
end

describe("the examples of ranks as a mesh", function()
  it("composed 2 x 2: exact, and less sent than by a ring of four", function()
    local out = run "composed_2x2"
    local composed, ring = out:match "2 x 2 +error %S+ (%d+) bytes.*ring +error %S+ (%d+) bytes"
    assert.is_true(tonumber(composed) < tonumber(ring), out)
    run("composed_2x2", "--seq-parallel mesh2d --rows 5")
    local two = program "--virtual 2 examples/composed_2x2.lua"
    assert.truthy(two.err:find("a mesh of 2 x 2 needs 4 ranks, not 2", 1, true), two.err)
  end)

  it("hierarchical: K/V twice and their gradients once over the slow link, whatever is inside", function()
    local out, count = run("hierarchical", "--rows 40"), 0
    for sent in out:gmatch "over the slow link: (%d+)" do
      count = count + 1
      assert.equal(3 * 2 * 40 * 32 * 4, tonumber(sent)) -- K/V forward, K/V and gradients backward
    end
    assert.equal(3, count)
  end)

  it("start virtual ranks where there is one", function()
    for _, example in ipairs { "composed_2x2", "hierarchical", "rshard" } do
      local alone = program(("examples/%s.lua --rows 40"):format(example))
      assert.equal(0, alone.status, alone.err)
      assert.equal(run(example, "--rows 40"), alone.out)
    end
  end)

  it("rshard: exact, with what every node could tell", function()
    local out = run("rshard", "--rows 40")
    assert.truthy(out:find "compute 4 +10 +4 +4 +infeasible", out)
    assert.truthy(out:find "attention %(4,4%) +10 +4 +4 +infeasible", out)
    assert.truthy(out:find "attention %(1,3%) +20 +2 +2 +borderline", out)
    assert.truthy(out:find("\nRECOVERABLE: 8 of 20 see neighbouring rows, first of them attention (1,2)\n", 1,
      true), out)
    assert.truthy(out:find "rshard +error", out)
  end)
end)
