local mosaic = require "mosaic"
local close = require "spec.support.close"
local fails = require "spec.support.fails"
local Placement = require "mosaic.placement"

--- Rows of three columns whose values tell their number: row r is { r, r + 0.25, r + 0.5 }.
local function rows(positions)
  local list = {}
  for i, row in ipairs(positions) do list[i] = { row, row + 0.25, row + 0.5 } end
  return #list > 0 and mosaic.tensor(list, { dtype = "f64" }) or mosaic.zeros { 0, 3, dtype = "f64" }
end

local WANTS = {
  everything = function(size, total)
    local lists = {}
    for rank = 1, size do lists[rank] = { { 1, 1, total } } end
    return lists
  end,
  backwards = function(size, total) -- the last rank wants all, last row first; the others nothing
    local lists = {}
    for rank = 1, size do lists[rank] = {} end
    for row = total, 1, -1 do table.insert(lists[size], { row, 1, 1 }) end
    return lists
  end,
  odd = function(size, total) -- overlapping: rank r wants every (r + 1)-th row
    local lists = {}
    for rank = 1, size do lists[rank] = { { 1, rank, math.ceil(total / rank) } } end
    return lists
  end,
}

describe("move", function()
  for name, wants in pairs(WANTS) do
    it("brings the rows that are wanted, and their gradients back: " .. name, function()
      for _, size in ipairs { 1, 2, 3, 5 } do
        for _, total in ipairs { 0, 1, 4, 11 } do
          for _, layout in ipairs { "contiguous", "zigzag", "striped" } do
            local have = mosaic.partition.new { layout = layout, rows = total, ranks = size }
            local want, wanted = Placement(wants(size, total)), {}
            for rank = 0, size - 1 do
              for _, row in ipairs(want:positions(rank)) do wanted[row] = (wanted[row] or 0) + rank + 1 end
            end
            mosaic.virtual(size, function(comm)
              local x = rows(have:positions(comm.rank)):requires_grad_()
              local y = mosaic.move(comm, x, 1, have, want)
              close(y:detach(), rows(want:positions(comm.rank)))
              y:backward(y:full_like(comm.rank + 1)) -- so a row's gradient says who wanted it
              local expected = x:zeros_like()
              for i, row in ipairs(have:positions(comm.rank)) do
                for column = 1, 3 do expected:set(i, column, wanted[row] or 0) end
              end
              close(x.grad, expected)
            end)
          end
        end
      end
    end)
  end

  it("sends what others want, and no row of one's own", function()
    local have = mosaic.partition.new { rows = 6, ranks = 2 }
    local want = Placement { { { 1, 1, 4 } }, { { 6, 1, 1 } } } -- row 4 travels, nothing else
    local sent = mosaic.virtual(2, function(comm)
      mosaic.move(comm, rows(have:positions(comm.rank)), 1, have, want)
      return comm:counters("all_to_all").bytes_sent
    end)
    assert.same({ 0, 3 * 8 }, sent)
  end)

  it("takes a row that several ranks have from the lowest of them", function()
    local have = Placement { { { 2, 1, 1 } }, { { 1, 1, 2 } } }
    mosaic.virtual(2, function(comm)
      local x = rows(have:positions(comm.rank)) + 100 * comm.rank
      local y = mosaic.move(comm, x, 1, have, Placement { { { 1, 1, 2 } }, {} })
      if comm.rank == 0 then assert.same({ 101, 2 }, { y:get(1, 1), y:get(2, 1) }) end
    end)
  end)

  it("names a row that nobody has", function()
    local have = mosaic.partition.new { rows = 3, ranks = 1 }
    fails("move: rank 0 wants row 7, which no rank has", function()
      mosaic.move(mosaic.comm.world(), rows { 1, 2, 3 }, 1, have, Placement { { { 7, 1, 1 } } })
    end)
  end)
end)
