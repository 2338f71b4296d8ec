local contract = require "spec.support.contract"
local program = require "spec.support.program"

--- Defines the example's strategies in this process; what it prints goes nowhere.
local function define()
  local before, out = _G.arg, io.output()
  rawset(_G, "arg", { [0] = "examples/own_strategy.lua", "--rows", "1" })
  io.output "/dev/null"
  dofile "examples/own_strategy.lua"
  io.output():close()
  io.output(out)
  rawset(_G, "arg", before)
end

describe("a strategy of one's own", function()
  define()
  local few = { ranks = { 1, 2, 4, 5 }, lengths = function(p) return { 0, 1, p - 1, p + 1, 13 } end }
  contract(it, "textbook", few)
  contract(it, "mirror", few)
  contract(it, "halo", {
    ranks = few.ranks, lengths = few.lengths,
    masks = {
      window = function() return { window = { 3, 1 } } end,
      ["causal window"] = function() return { window = { 4, 2 }, causal = true } end,
    },
  })

  it("sends the same on every rank where some have one row and some have two", function()
    for _, rows in ipairs { 3, 5 } do
      local report = require("mosaic").verify("mirror", { heads = 2, rows = rows, head_size = 4 },
        { ranks = 4, mask = "causal,bias", layout = "contiguous", quiet = true })
      assert.is_true(report.ok, tostring(report))
    end
  end)

  it("is checked by the script: exact, and the mirror ring balanced", function()
    local result = program "--virtual 4 examples/own_strategy.lua --rows 130"
    assert.equal(0, result.status, result.err)
    local work, bytes = {}, {}
    local line = "(%w+) +(%l.-) +error [^;]+; +(%d+) bytes sent; work max/mean (%S+)"
    for name, mask, sent, share in result.out:gmatch(line) do
      work[name .. " " .. mask], bytes[name .. " " .. mask] = tonumber(share), tonumber(sent)
    end
    assert.is_true(work["ring causal"] > 1.6 and work["mirror causal"] < 1.05)
    assert.is_true(bytes["halo window"] < bytes["ring window"])
    assert.is_true(bytes["ring causal"] < bytes["textbook causal"])
  end)

  it("says what it needs", function()
    local mosaic = require "mosaic"
    local x = mosaic.ones { 1, 4, 2 }
    local ok, message = pcall(mosaic.attend, x, x, x, { strategy = "halo" })
    assert.is_false(ok)
    assert.truthy(message:find("halo: it lives off mask.window; use ring without one", 1, true), message)
  end)
end)
