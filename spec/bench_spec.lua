--- scripts/bench: who is compared with whom, and the table.
package.path = "scripts/bench/?.lua;" .. package.path
local bench = require "bench"
local markdown = require "markdown"

--- A peer that says how long it took.
local function peer(name, seconds)
  return { name = name, time = function(_, case) return case == "twice" and 2 * seconds or seconds end }
end

--- The rows of body(), which prints none of them; whatever is timed takes half a second.
local function rows_of(body)
  local row, time, rows = bench.row, bench.time, {}
  bench.row = function(new) rows[#rows + 1] = new end
  bench.time = function(timed)
    timed()
    return 0.5
  end
  local ok, why = pcall(body)
  bench.row, bench.time = row, time
  assert(ok, why)
  return rows
end

describe("make bench", function()
  before_each(function() bench.part = "" end)

  it("compares with the fastest rival for each unit of work", function()
    local row = rows_of(function()
      bench.compare {
        name = "x", unit = "GFLOP/s", work = 4e9, body = function() end, rivals = {
          { peer = peer("slow", 4), case = "once" }, { peer = peer("fast", 1), case = "twice" },
          { name = "half", peer = peer("much", 3), work = 1e9 }, { peer = nil },
        },
      }
    end)[1]
    assert.equal("fast", row.peer)
    assert.equal(2, row.peer_value) -- 4 GFLOP in 2 s
    assert.near(1 / 3, table.remove(row.rivals).value, 1e-12)
    assert.are.same({ { name = "slow", value = 1 }, { name = "fast", value = 2 } }, row.rivals)
    assert.same({ 8, 4 }, { row.value, row.ratio }) -- in 0.5 s
  end)

  it("gives everyone as many turns, and a first one that does not count", function()
    local turns = {}
    rows_of(function()
      bench.compare {
        name = "x", rounds = 2, body = function() turns[#turns + 1] = "own" end,
        rivals = { { name = "other", body = function() turns[#turns + 1] = "other" end } },
      }
    end)
    assert.equal("own other own other own other", table.concat(turns, " "))
  end)

  it("has as many turns that do not count as a row asks for", function()
    local turns = 0
    local row = rows_of(function()
      bench.compare {
        name = "x", rounds = 2, warm_up = 3, body = function() turns = turns + 1 end,
        rivals = { { name = "other", peer = { time = function() return turns > 3 and 1 or 100 end } } },
      }
    end)[1]
    assert.same({ 5, 1 }, { turns, row.peer_value })
  end)

  it("measures the rows that are asked for only", function()
    bench.part = "d = 64"
    local rows = rows_of(function()
      for _, size in ipairs { 24, 64 } do
        bench.compare { name = "x", variant = "d = " .. size, body = function() end }
      end
    end)
    assert.equal(1, #rows)
    assert.equal("d = 64", rows[1].variant)
  end)

  it("takes the median", function()
    assert.equal(2, bench.median { 9, 1, 2 })
    assert.equal(1.5, bench.median { 9, 1, 2, 1 })
  end)

  it("prints a line for the rows of one name, with all rivals", function()
    local text = markdown {
      { name = "a", variant = "d = 24", value = 145.2, unit = "GFLOP/s", ratio = 1.5,
        rivals = { { name = "t", value = 76 }, { name = "o", value = 96.8 } } },
      { name = "b", value = 0.043, unit = "s", note = "approximate" },
      { name = "a", variant = "d = 64", value = 1.5, unit = "GFLOP/s", ratio = 0.5,
        rivals = { { name = "t", value = 3 } } },
      { name = "c", value = 2, unit = "x", peer = "p", peer_value = 1, ratio = 2 },
    }
    assert.equal([[
| | Mosaic | peer | ratio |
| --- | --- | --- | --- |
| a, d = 24 / 64 | 145 / 1.50 GFLOP/s | t: 76.0 / 3.00; o: 96.8 | 1.50 / 0.50 |
| b (approximate) | 0.043 s |  |  |
| c | 2.00 x | p: 1.00 | 2.00 |
]], text)
  end)
end)
