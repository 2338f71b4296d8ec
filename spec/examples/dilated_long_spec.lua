local close = require "spec.support.close"
local program = require "spec.support.program"

--- Runs the example; loss and norm of the gradient, MB held by the ranks, and the result as it is.
local function run(ranks, words)
  local result = program(("--virtual %d examples/dilated_long.lua %s"):format(ranks, words or ""))
  assert.equal(0, result.status, result.err)
  local held = {}
  for text in result.out:gmatch "([%d.]+) MB at most held" do held[#held + 1] = tonumber(text) end
  local loss, norm = result.out:match "loss (%S+), norm of the gradient (%S+)"
  return { tonumber(loss), tonumber(norm) }, held, result
end

describe("the dilated example", function()
  it("gives the same loss and gradient on any number of ranks, and holds less on each", function()
    local heads = "--parallel heads --segments 100,7000 --rates 1,3"
    for _, words in ipairs { "", "--causal --rows 5001", heads } do
      local one, whole = run(1, words)
      assert.is_true(one[1] > 0 and one[2] > 0)
      for _, ranks in ipairs { 2, 3 } do
        local got, held = run(ranks, words)
        close(got, one, 1e-5)
        close(got[2] / one[2], 1, 1e-4)
        assert.equal(ranks, #held)
        for _, mb in ipairs(held) do
          assert.is_true(mb < (words == heads and 1 or 0.55) * whole[1], words .. " " .. mb)
        end
      end
    end
  end)

  it("says which share of dense attention's work is left", function()
    local _, _, result = run(1, "--rows 1024 --segments 256,1024 --rates 1,4")
    assert.truthy(result.out:find("31.25 % of the work of dense attention", 1, true), result.out)
    assert.truthy(result.err:find("strategy 'dilated' is approximate", 1, true))
  end)

  it("says what it cannot use", function()
    for words, expected in pairs {
      ["--segments 4,8"] = "--segments 4,8 and --rates 1,4,16: one for each",
      ["--rates 1,0,4"] = "--rates: expected integers of at least 1 with commas, got '1,0,4'",
      ["--parallel row"] = "--parallel: rows or heads, got 'row'",
    } do
      local result = program("examples/dilated_long.lua " .. words)
      assert.equal(1, result.status)
      assert.equal("mosaic-lua: " .. expected .. "\n", result.err)
    end
  end)
end)
