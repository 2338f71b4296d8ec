local options = require "mosaic.host.options"

--- The plan for a command line, words separated by spaces.
local function parse(line)
  local words = {}
  for word in line:gmatch "%S+" do words[#words + 1] = word end
  return options.parse(words)
end

local function refuses(message, line)
  local plan, wrong = parse(line)
  assert.is_nil(plan)
  assert.equal(message, wrong)
end

describe("the command line", function()
  it("stops reading options at the script", function()
    local plan = parse "-n 4 train.lua --steps 3 -e x"
    assert.equal(4, plan.ranks)
    assert.equal("train.lua", plan.script)
    assert.equal(3, plan.first)
    assert.same({ "--", "train.lua", "--steps", "3", "-e", "x" }, plan.rest)
  end)

  it("hands every option but -n on to the ranks", function()
    assert.same({ "-e", "a=1", "-lm", "--", "x.lua" }, parse("-e a=1 -n2 -lm x.lua").rest)
  end)

  it("takes values beside and behind an option", function()
    assert.same({ { "e", "x" }, { "l", "m" }, { "e", "y" } }, parse("-ex -l m -e y").steps)
    assert.equal(8, parse("--virtual=8 x.lua").virtual)
    assert.equal(8, parse("--virtual 8 x.lua").virtual)
  end)

  it("collects what LuaJIT is told", function()
    assert.same({ "off", "v=file" }, parse("-joff -j v=file x.lua").compiler)
    assert.same({ "-joff", "--", "x.lua" }, parse("-joff -n 2 x.lua").rest)
  end)

  it("treats what follows -- as the script", function()
    assert.equal("-odd.lua", parse("-- -odd.lua -i").script)
    assert.equal("-", parse("-").script)
  end)

  it("suggests the option that was meant", function()
    refuses("unknown option '--vritual', did you mean '--virtual'?", "--vritual 3 x.lua")
    refuses("unknown option '--hlep', did you mean '--help'?", "--hlep")
    refuses("unknown option '--frobnicate'", "--frobnicate")
  end)

  it("says which value is missing or wrong", function()
    refuses("-n: a number of ranks is missing", "-n")
    refuses("-e: a chunk is missing", "-e")
    refuses("-j: a command is missing", "-j")
    refuses("-n: expected a number of ranks, 1 to 65536, got '0'", "-n 0 x.lua")
    refuses("-n: expected a number of ranks, 1 to 65536, got '2.5'", "-n 2.5 x.lua")
    refuses("--virtual: expected a number of ranks, 1 to 65536, got 'two'", "--virtual two x.lua")
  end)

  it("refuses what cannot be together", function()
    refuses("-n and --virtual exclude each other", "-n 2 --virtual 2 x.lua")
    refuses("-n: the prompt has one rank only, leave out -i", "-n 2 -i x.lua")
    refuses("--virtual: a script (or -e) is missing", "--virtual 2")
    refuses("-n: a script on standard input runs on one rank only, name a file", "-n 2 -")
  end)
end)
