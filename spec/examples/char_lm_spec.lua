local close = require "spec.support.close"
local files = require "spec.support.files"
local program = require "spec.support.program"

local SMALL = "--steps 8 --every 1 --length 37 --batch 2 --embed-dim 16 --num-heads 2 --generate 12 "
  .. "--prompt abc"

--- Runs the example; returns the losses and what was written after the prompt.
local function run(ranks, options)
  local result = program(("--virtual %d examples/char_lm.lua %s"):format(ranks, options))
  assert.equal(0, result.status, result.err)
  local losses = {}
  for loss in result.out:gmatch "loss (%S+)" do losses[#losses + 1] = tonumber(loss) end
  return losses, result.out:match "\nabc(.*)\n$"
end

describe("the character model", function()
  local text = files.write(("abcdefgh, abcabc hgf.\n"):rep(9), "text.txt")

  it("learns the same on one rank and on four, and writes what it has learned", function()
    local one = run(1, SMALL .. " --text " .. text)
    local four, written = run(4, SMALL .. " --text " .. text)
    close(four, one, 2e-4)
    assert.equal(8, #one)
    assert.is_true(one[8] < one[1] - 0.3)
    assert.equal(12, #written)
  end)

  it("remembers a short text", function()
    local losses, written = run(2, SMALL
      .. " --steps 50 --every 50 --lr 1e-2 --temperature 0.05 --text " .. text)
    assert.is_true(losses[2] < 0.3)
    assert.truthy(("abcdefgh, abcabc hgf.\n"):rep(9):find("abc" .. written, 1, true), written)
  end)

  it("says what it cannot use", function()
    for words, expected in pairs {
      ["--prompt ''"] = "--prompt: at least one character is needed to go on from",
      ["--prompt Q --text " .. text] = '--prompt: "Q" is not in the text',
      ["--text nowhere.txt"] = "--text: cannot open nowhere.txt",
      ["--length 198 --prompt abc --text " .. text] =
        "--length: 198 characters are too few for sequences of 198",
    } do
      local result = program("examples/char_lm.lua " .. words)
      assert.equal(1, result.status)
      assert.equal("mosaic-lua: " .. expected .. "\n", result.err)
    end
  end)
end)
