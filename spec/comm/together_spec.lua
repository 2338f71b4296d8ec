local mosaic = require "mosaic"
local fails = require "spec.support.fails"

describe("Comm:together", function()
  it("gives every rank's values, on one rank without asking", function()
    for size = 1, 3 do
      mosaic.virtual(size, function(comm)
        comm:reset_counters()
        local rows = comm:together("step", function()
          return { rows = 5, name = "x" }, { mine = comm.rank }
        end)
        assert.equal(size, #rows)
        for r, row in ipairs(rows) do assert.same({ 5, "x", r - 1 }, { row.rows, row.name, row.mine }) end
        assert.equal(size > 1 and 1 or 0, comm:counters("all_gather").calls)
      end)
    end
  end)

  it("raises one rank's error on all, and what differs", function()
    mosaic.virtual(3, function(comm)
      fails("rank 1: rows must be even, got 3", function()
        comm:together("step", function()
          if comm.rank == 1 then mosaic.check.fail("rows must be even, got %d", 3) end
          return {}
        end)
      end)
      local _, message = pcall(comm.together, comm, "step", function()
        if comm.rank > 0 then mosaic.check.fail("no %d", comm.rank) end
        return { rows = 5, name = "x" }
      end)
      assert.truthy(message:match "rank 1: no 1; rank 2: no 2$") -- and nothing else
      fails("rows must be even", function()
        comm:together("step", function() mosaic.check.fail "rows must be even" end)
      end)
      fails("step: ranks disagree on rows: rank 0 0, rank 1 1, rank 2 2", function()
        comm:together("step", function() return { rows = comm.rank } end)
      end)
    end)
  end)
end)
