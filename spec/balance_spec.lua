local mosaic = require "mosaic"
local fails = require "spec.support.fails"

--- Pairs of query and key that each rank works on, counted one by one.
local function loads_of(indices, lengths, causal)
  local length_of, place_of = {}, {}
  for _, length in ipairs(lengths) do
    for place = 1, length do length_of[#length_of + 1], place_of[#place_of + 1] = length, place end
  end
  local loads = {}
  for rank, list in ipairs(indices) do
    loads[rank] = 0
    for _, row in ipairs(list) do loads[rank] = loads[rank] + (causal and place_of[row] or length_of[row]) end
  end
  return loads
end

local LENGTHS = {
  { 1000 }, { 700, 12, 300, 5, 41 }, { 3, 3, 3, 900, 3, 800, 257 }, { 64, 64, 64, 64, 64, 64, 64, 64 },
}

describe("balance", function()
  it("gives every row to one rank, and each rank at most 5 % more work than the mean", function()
    for _, lengths in ipairs(LENGTHS) do
      for _, ranks in ipairs { 1, 2, 3, 4, 8 } do
        for _, causal in ipairs { true, false } do
          local indices = mosaic.balance.documents(lengths, ranks, { causal = causal })
          local total, rows, most, work = 0, 0, 0, 0
          for _, length in ipairs(lengths) do rows = rows + length end
          for _, list in ipairs(indices) do total = total + #list end
          assert.equal(rows, total)
          mosaic.partition.new { rows = rows, ranks = ranks, indices = indices, layout = "indices" }
          for _, load in ipairs(loads_of(indices, lengths, causal)) do
            most, work = math.max(most, load), work + load
          end
          local share = most * ranks / work
          assert.is_true(share <= 1.05, ("%d ranks: %.3f"):format(ranks, share))
        end
      end
    end
  end)

  it("keeps attention exact and the counted work even", function()
    local lengths, ids = { 260, 13, 130, 5, 104 }, {}
    for number, length in ipairs(lengths) do
      for _ = 1, length do ids[#ids + 1] = number end
    end
    local documents = mosaic.tensor(ids, { dtype = "i64" })
    local found = mosaic.verify("ring", { rows = #ids, heads = 2, head_size = 8 }, {
      ranks = 4, mask = { documents = documents, causal = true }, quiet = true, dtypes = { "f64" },
      indices = mosaic.balance.documents(lengths, 4, { causal = true }),
    })
    assert.is_true(found.ok)
    assert.is_true(found.imbalance <= 0.05, tostring(found.imbalance))
  end)

  it("takes no documents, and empty ones", function()
    assert.same({ {}, {} }, mosaic.balance.documents({}, 2))
    assert.same({ { 1 }, {} }, mosaic.balance.documents({ 0, 1 }, 2))
  end)

  it("refuses what is no length", function()
    fails("balance.documents: lengths[2] must be an integer of at least 0, got -1", function()
      mosaic.balance.documents({ 3, -1 }, 2)
    end)
  end)
end)
