local options = require "support.options"

local LIST = {
  { "steps", 400, "training steps" }, { "out", options.REQUIRED, "where to" }, { "held-out", 0, "tables" },
  { "count", 1, "of them", integer = 1 }, { "most", 1, "of them", integer = 1, most = 9 },
  { "rate", 1, "of it", above = 0 }, { "time", 0, "s", least = 0 },
  { "quiet", false, "say nothing" }, { "impute", "", "how" },
}

--- Errors about the command line have no place in the source.
local function fails(text, body)
  local ok, message = pcall(body)
  assert.is_false(ok)
  assert.equal(text, tostring(message))
end

local function parse(...)
  return options.parse("program.lua", "Does it.", LIST, { ... })
end

describe("options.parse", function()
  it("reads values of the defaults' kinds, in both spellings", function()
    assert.same({ steps = 12, out = "a b", held_out = 7, quiet = true, impute = "", count = 3, rate = 0.5,
      time = 0, most = 1 },
      parse("--steps", "12", "--out=a b", "--held-out=7", "--quiet", "--count", "3",
        "--rate=.5"))
    assert.same({ steps = 400, out = "x", held_out = 0, quiet = false, impute = "mean", count = 1, rate = 1,
      time = 0, most = 1 },
      parse("--impute", "mean", "--out", "x"))
  end)

  it("says what is wrong, and what was meant", function()
    fails("unknown option '--step', did you mean '--steps'? (--help lists them)",
      function() parse("--step", "1") end)
    fails("--steps: expected a number, got 'many'", function() parse("--steps", "many") end)
    fails("--out: a value is missing", function() parse "--out" end)
    fails("--out is required (--help explains it)", function() parse() end)
    fails("expected an option such as --steps, got 'x'", function() parse "x" end)
  end)

  it("holds numbers to their limits", function()
    for text, expected in pairs {
      ["count=0"] = "an integer of at least 1", ["count=2.5"] = "an integer of at least 1",
      ["most=10"] = "an integer from 1 to 9", ["most=0"] = "an integer from 1 to 9",
      ["count=nan"] = "an integer of at least 1", ["count=inf"] = "an integer of at least 1",
      ["rate=0"] = "a number above 0", ["rate=nan"] = "a number above 0",
      ["time=-1"] = "a number of at least 0", ["time=inf"] = "a number of at least 0",
    } do
      local name, value = text:match "(.*)=(.*)"
      fails(("--%s: expected %s, got '%s'"):format(name, expected, value), function() parse("--" .. text) end)
    end
  end)
end)
