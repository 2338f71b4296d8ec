local halves = require "nanotabpfn.halves"

describe("halves", function()
  it("cuts a list in two, of more entries than unpack takes too", function()
    assert.same({ 5, 6 }, { unpack((select(2, halves({ 4, 5, 6 }, 1)))) })
    local list = {}
    for i = 1, 17000 do list[i] = i end
    local first, second = halves(list, 8500)
    assert.equal(8500, #first)
    assert.equal(8500, #second)
    assert.equal(8501, second[1])
    assert.equal(17000, second[8500])
  end)
end)
