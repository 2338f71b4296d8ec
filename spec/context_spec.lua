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

  it("splits along any number of axes, in the same order on every rank", function()
    mosaic.virtual(12, function(comm)
      local mesh = mosaic.mesh { { "dp", 2 }, { "sp", 3 }, { "tp", -1 } }
      local dp, sp, tp = math.floor(comm.rank / 6), math.floor(comm.rank / 2) % 3, comm.rank % 2
      local members = {
        dp = { comm.rank % 6, comm.rank % 6 + 6 }, sp = { 6 * dp + tp, 6 * dp + 2 + tp, 6 * dp + 4 + tp },
        tp = { comm.rank - tp, comm.rank - tp + 1 },
      }
      assert.same({ dp, sp, tp }, { mesh:coordinate "dp", mesh:coordinate "sp", mesh:coordinate "tp" })
      for _, axis in ipairs { "tp", "dp", "sp" } do
        local own = mosaic.tensor({ comm.rank }, { dtype = "i64" })
        assert.same(members[axis], mesh:comm(axis):all_gather(own, 1):tolist())
        assert.equal(mesh:coordinate(axis), mesh:comm(axis).rank)
      end
    end)
  end)

  it("lays causal work out in zigzag unless told otherwise; everything follows", function()
    local x = mosaic.arange(1, 9)
    mosaic.virtual(2, function(comm)
      assert.equal("contiguous", mosaic.init({}).layout)
      assert.equal("contiguous", mosaic.init({ causal = false }).layout)
      assert.equal("striped", mosaic.init({ causal = true, layout = "striped" }).layout)
      assert.equal("zigzag", mosaic.init({ causal = true }).layout)
      local shard = mosaic.shard(x, { axis = 1 })
      assert.same(comm.rank == 0 and { 1, 2, 3, 8, 9 } or { 4, 5, 6, 7 }, shard:tolist())
      assert.same(x:tolist(), mosaic.unshard(shard, { axis = 1 }):tolist())
      local plain = mosaic.shard(x, { axis = 1, layout = "contiguous" })
      assert.same(comm.rank == 0 and { 1, 2, 3, 4, 5 } or { 6, 7, 8, 9 }, plain:tolist())
    end)
  end)

  it("names what it cannot use", function()
    fails("init: layout \"zigzak\" is not one of contiguous, zigzag, striped (did you mean 'zigzag'?)",
      function() mosaic.init { layout = "zigzak" } end)
    fails("init: option 'causal' must be of type boolean, got \"yes\"",
      function() mosaic.init { causal = "yes" } end)
    fails("mesh: layout \"indices\" is not one of",
      function() mosaic.mesh({ { "sp", 1 } }, { layout = "indices" }) end)
  end)

  it("is the default of layers: all ranks, one sequence", function()
    mosaic.virtual(3, function()
      local x = mosaic.shard(mosaic.arange(1, 7), { axis = 1 })
      assert.same({ 1, 2, 3, 4, 5, 6, 7 }, mosaic.unshard(x, { axis = 1 }):tolist())
    end)
  end)
end)
