local mosaic = require "mosaic"
local fails = require "spec.support.fails"

describe("mosaic.init", function()
  it("arranges the ranks as data x sequence parallel", function()
    local seen = mosaic.virtual(6, function()
      local mesh = mosaic.init { sp_size = 3, layout = "zigzag" }
      local sums = {}
      for _, axis in ipairs { "dp", "sp" } do
        local mine = mosaic.tensor({ mesh.world.rank }, { dtype = "i64" })
        sums[axis] = mesh:comm(axis):all_reduce(mine):item()
      end
      return { mesh:coordinate "dp", mesh:coordinate "sp", sums.dp, sums.sp, mesh.layout }
    end)
    assert.same({
      { 0, 0, 0 + 3, 0 + 1 + 2, "zigzag" }, { 0, 1, 1 + 4, 3, "zigzag" }, { 0, 2, 2 + 5, 3, "zigzag" },
      { 1, 0, 3, 3 + 4 + 5, "zigzag" }, { 1, 1, 5, 12, "zigzag" }, { 1, 2, 7, 12, "zigzag" },
    }, seen)
  end)

  it("takes a mesh of any axes, and refuses one that does not fit", function()
    mosaic.virtual(4, function(comm)
      assert.equal(2, mosaic.mesh({ { "a", 2 }, { "b", 2 } }):comm("a").size)
      fails("mesh: a 3 is 3 ranks, the world has 4", function() mosaic.mesh { { "a", 3 } } end)
      fails("init: sp_size 3 does not divide 4 ranks", function() mosaic.init { sp_size = 3 } end)
      comm:barrier()
    end)
  end)

  it("is the default of layers: all ranks, one sequence", function()
    mosaic.virtual(3, function()
      local x = mosaic.shard(mosaic.arange(1, 7), { axis = 1 })
      assert.same({ 1, 2, 3, 4, 5, 6, 7 }, mosaic.unshard(x, { axis = 1 }):tolist())
    end)
  end)
end)
