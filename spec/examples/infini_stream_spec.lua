local close = require "spec.support.close"
local program = require "spec.support.program"

--- Runs the example; the two sums, the two peaks in MB, and the largest difference. Nothing is compiled: a
-- trace would keep the first closures that it runs, and with them tensors.
local function run(ranks, words)
  local result = program(("-j off --virtual %d examples/infini_stream.lua %s"):format(ranks, words or ""))
  assert.equal(0, result.status, result.err)
  local sums, peaks = {}, {}
  for sum, peak in result.out:gmatch ": +(%S+), peak (%S+) MB" do
    sums[#sums + 1], peaks[#peaks + 1] = tonumber(sum), tonumber(peak)
  end
  return sums, peaks, tonumber(result.out:match "largest difference (%S+),")
end

describe("the streaming example", function()
  it("gets from pieces what the whole gives, on any number of ranks, in a tenth of the memory", function()
    local one, peaks, difference = run(1)
    assert.is_true(difference < 1e-6)
    assert.is_true(peaks[1] < peaks[2] / 10)
    for ranks = 1, 3, 2 do
      for _, words in ipairs { "", "--piece 771" } do
        local sums, _, off = run(ranks, words)
        close(sums, { one[1], one[1] }, 2e-6)
        assert.is_true(off < 1e-6)
      end
    end
  end)

  it("needs no more memory for a longer sequence", function()
    local _, short = run(1, "--update linear --rows 4000")
    local _, long = run(1, "--update linear --rows 16000")
    assert.is_true(long[1] < 1.05 * short[1])
    assert.is_true(long[2] > 2 * short[2])
  end)

  it("says what it cannot use", function()
    for words, expected in pairs {
      ["--update dleta"] = "--update: linear or delta, got 'dleta'",
      ["--num-heads 3"] = "--embed-dim: 64 is not a multiple of 3 heads",
      ["--segment 0"] = "--segment: expected an integer of at least 1, got '0'",
    } do
      local result = program("examples/infini_stream.lua " .. words)
      assert.equal(1, result.status)
      assert.equal("mosaic-lua: " .. expected .. "\n", result.err)
    end
  end)
end)
