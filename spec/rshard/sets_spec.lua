local mosaic = require "mosaic"
local fails = require "spec.support.fails"

describe("R-sharding's sets", function()
  it("deal clusters of 2 with period 7 to four nodes, and their elements to the sets of a group", function()
    local sets = mosaic.rshard.sets { rows = 15, cluster = 2, period = 7, group = 2 }
    assert.same({ { 1, 2, 8, 9, 15 }, { 3, 4, 10, 11 }, { 5, 6, 12, 13 }, { 7, 14 } }, sets.compute)
    assert.same({ { 1, 3, 8, 10, 15 }, { 2, 4, 9, 11 }, { 5, 7, 12, 14 }, { 6, 13 } }, sets.attention)
    local indices = sets:indices(6) -- two ranks more, that own nothing
    assert.same({ { 7, 14 }, {}, {} }, { unpack(indices, 4) })
  end)

  it("cover every row once, whatever the dealing", function()
    for _, case in ipairs {
      { 0, 1, 1, 1 }, { 1, 3, 5, 2 }, { 23, 3, 10, 3 }, { 40, 4, 4, 9 }, { 31, 1, 6, 4 },
    } do
      local rows, cluster, period, group = unpack(case)
      local sets = mosaic.rshard.sets { rows = rows, cluster = cluster, period = period, group = group }
      for _, lists in ipairs { sets.compute, sets.attention } do
        mosaic.partition.new { rows = rows, ranks = #lists, layout = "indices", indices = lists }
      end
      assert.equal(math.ceil(period / cluster), #sets.compute)
    end
  end)

  --- node -> { rows, smallest gap, largest gap, class }
  local function told(sets, options)
    local found = {}
    for _, row in ipairs(mosaic.rshard.privacy(sets, options)) do
      found[row.node] = { row.rows, row.smallest, row.largest, row.class }
    end
    return found
  end

  it("tell of each node what it could recover", function()
    local nodes = told {
      compute = { { 1, 2, 8 }, { 3, 5, 9 }, { 4, 7 }, { 6 } }, attention = { { 1, 4, 8 }, { 2, 6, 9 } },
    }
    assert.same({ 3, 1, 6, "recoverable" }, nodes["compute 1"])
    assert.same({ 3, 2, 4, "borderline" }, nodes["compute 2"])
    assert.same({ 2, 3, 3, "infeasible" }, nodes["compute 3"])
    assert.same({ 1, math.huge, 0, "infeasible" }, nodes["compute 4"])
    assert.same({ 3, 3, 4, "infeasible" }, nodes["attention (1,1)"])
    -- it sees the queries of one set and the keys of the other
    assert.same({ 6, 1, 2, "recoverable" }, nodes["attention (1,2)"])
  end)

  it("tell of a rank what all its roles see together", function()
    local sets = mosaic.rshard.sets { rows = 60, cluster = 1, period = 12, group = 1 }
    assert.same({ 5, 12, 12, "infeasible" }, told(sets)["compute 1"])
    assert.same({ 60, 1, 1, "recoverable" }, told(sets, { ranks = 12 })["rank 0"])
    assert.same({ 5, 12, 12, "infeasible" }, told(sets, { ranks = 12 + 144 })["rank 0"])
    assert.same({ 10, 4, 8, "infeasible" }, told(sets, { ranks = 12 + 144 })["rank 16"]) -- node (1,5)
  end)

  it("make a table", function()
    local text = mosaic.rshard.report(mosaic.rshard.sets { rows = 9, cluster = 1, period = 3, group = 3 })
    assert.equal([[
node                     rows  min gap  max gap  text
compute 1                   3        3        3  infeasible
compute 2                   3        3        3  infeasible
compute 3                   3        3        3  infeasible
attention (1,1)             9        1        1  recoverable
RECOVERABLE: 1 of 4 see neighbouring rows, first of them attention (1,1)]], text)
    local apart = mosaic.rshard.report { compute = { { 1, 4 }, { 9 } }, attention = { { 1, 4, 9 } } }
    assert.is_nil(apart:find "RECOVERABLE")
  end)

  it("refuse what deals nothing", function()
    fails("rshard.sets: period must be an integer of at least 3, got 2", function()
      mosaic.rshard.sets { rows = 4, cluster = 3, period = 2 }
    end)
    fails("rshard.sets: unknown option 'clusters', did you mean 'cluster'?", function()
      mosaic.rshard.sets { rows = 4, clusters = 3, period = 2 }
    end)
  end)
end)
