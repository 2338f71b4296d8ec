local Mesh = require "mosaic.mesh"
local fails = require "spec.support.fails"

describe("a mesh", function()
  local mesh = Mesh({ { "dp", 2 }, { "sp", 3 } }, 6)

  it("lets the last axis vary fastest", function()
    local seen = {}
    for rank = 0, 5 do seen[rank + 1] = { mesh:coordinate(rank, "dp"), mesh:coordinate(rank, "sp") } end
    assert.same({ { 0, 0 }, { 0, 1 }, { 0, 2 }, { 1, 0 }, { 1, 1 }, { 1, 2 } }, seen)
  end)

  it("groups the ranks that differ along one axis only", function()
    local sp, dp = {}, {}
    for rank = 0, 5 do sp[rank + 1], dp[rank + 1] = mesh:group(rank, "sp"), mesh:group(rank, "dp") end
    assert.same({ 0, 0, 0, 3, 3, 3 }, sp)
    assert.same({ 0, 1, 2, 0, 1, 2 }, dp)
  end)

  it("infers one size", function()
    assert.equal(4, Mesh({ { "dp", -1 }, { "sp", 2 } }, 8):size "dp")
  end)

  it("refuses sizes whose product is not the world, and unknown axes", function()
    local message = "mesh: dp 2 x sp 3 is 6 ranks, the world has "
    fails(message .. 8, function() Mesh({ { "dp", 2 }, { "sp", 3 } }, 8) end)
    fails(message .. 7, function() Mesh({ { "dp", -1 }, { "sp", 3 } }, 7) end)
    fails("mesh: size of axis b must be an integer of at least 1, got -1", function()
      Mesh({ { "a", -1 }, { "b", -1 } }, 4)
    end)
    fails("mesh: size of axis a must be an integer of at least 1, got 0", function()
      Mesh({ { "a", 0 } }, 4)
    end)
    fails("did you mean 'sp'?", function() mesh:size "so" end)
  end)
end)
