local partition = require "mosaic.partition"
local fails = require "spec.support.fails"

local function all_positions(part)
  local lists = {}
  for rank = 0, part.ranks - 1 do lists[rank + 1] = part:positions(rank) end
  return lists
end

describe("a partition", function()
  it("gives zigzag ranks an early and a late run", function()
    assert.same({ { 1, 2, 11 }, { 3, 4, 10 }, { 5, 6, 9 }, { 7, 8 } },
      all_positions(partition.new { layout = "zigzag", rows = 11, ranks = 4 }) )
  end)

  it("deals striped rows like cards", function()
    assert.same({ { 1, 4, 7 }, { 2, 5 }, { 3, 6 } },
      all_positions(partition.new { layout = "striped", rows = 7, ranks = 3 }))
  end)

  it("cuts contiguous runs evenly, or as counted", function()
    assert.same({ { 1, 2, 3 }, { 4, 5 } }, all_positions(partition.new { rows = 5, ranks = 2 }))
    assert.same({ {}, { 1, 2, 3, 4, 5 } },
      all_positions(partition.new { rows = 5, ranks = 2, counts = { 0, 5 } }))
  end)

  it("owns every row exactly once: all layouts, 0..20 rows, 1..8 ranks", function()
    for _, layout in ipairs { "contiguous", "zigzag", "striped" } do
      for ranks = 1, 8 do
        for rows = 0, 20 do
          local part = partition.new { layout = layout, rows = rows, ranks = ranks }
          local seen, places = {}, part:places()
          local fewest, most = math.huge, 0
          for rank = 0, ranks - 1 do
            local count = part:count(rank)
            assert.equal(count, #part:positions(rank))
            fewest, most = math.min(fewest, count), math.max(most, count)
            for _, row in ipairs(part:positions(rank)) do
              assert.is_nil(seen[row])
              seen[row] = true
            end
          end
          assert.equal(rows, #seen)
          assert.equal(rows, #places)
          assert.is_true(most - fewest <= 1)
        end
      end
    end
  end)

  it("counts the rows up to a position as a scan of the list does", function()
    for _, layout in ipairs { "contiguous", "zigzag", "striped" } do
      local part = partition.new { layout = layout, rows = 23, ranks = 4 }
      for last = 0, 24 do
        for rank = 0, 3 do
          local expected = 0
          for _, row in ipairs(part:positions(rank)) do expected = expected + (row <= last and 1 or 0) end
          assert.equal(expected, part:count_up_to(rank, last))
        end
      end
    end
  end)

  it("takes index lists, in any order", function()
    local part = partition.new { layout = "indices", rows = 4, ranks = 2, indices = { { 4, 1 }, { 2, 3 } } }
    assert.same({ 4, 1 }, part:positions(0))
    assert.same({ 2, 3, 4, 1 }, part:places())
    assert.is_false(part:is_ascending(0))
    assert.is_true(part:is_ascending(1))
  end)

  it("names the index that is missing, doubled or outside", function()
    local function new(indices)
      return function() partition.new { layout = "indices", rows = 3, ranks = 2, indices = indices } end
    end
    fails("index 3 belongs to no rank", new { { 1 }, { 2 } })
    fails("index 2 belongs to rank 0 and rank 1", new { { 1, 2 }, { 2, 3 } })
    fails("index 4 of rank 1 exceeds 3 rows", new { { 1 }, { 2, 4 } })
  end)

  it("refuses counts that do not sum, and unknown layouts", function()
    fails("counts {2, 2} do not describe 5 rows", function()
      partition.new { rows = 5, ranks = 2, counts = { 2, 2 } }
    end)
    fails("did you mean 'striped'?", function()
      partition.new { rows = 5, ranks = 2, layout = "stripped" }
    end)
  end)
end)
