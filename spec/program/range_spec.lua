local mosaic = require "mosaic"
local fails = require "spec.support.fails"

local keep, score = mosaic.program.keep, mosaic.program.score

local ids = {}
for i = 1, 64 do ids[i] = math.floor((i - 1) / 10) end

--- What a function lets through of a box, by asking it everywhere.
local function by_asking(f, box)
  local any, all = false, true
  for h = box.h[1], box.h[2] do
    for i = box.i[1], box.i[2] do
      for j = box.j[1], box.j[2] do
        local seen = f(1, h, i, j)
        any, all = any or seen, all and seen
      end
    end
  end
  return any and (all and "all" or "some") or "none"
end

local functions = {
  causal = function(_, _, i, j) return j <= i end,
  window = function(_, _, i, j) return i - j <= 7 and j - i <= 3 end,
  ["a window per head"] = function(_, h, i, j) return math.abs(i - j) <= 4 * h end,
  documents = function(_, _, i, j) return ids[i] == ids[j] end,
  blocks = function(_, _, i, j) return math.floor(i / 16) == math.floor(j / 16) end,
  prefix = function(_, _, i, j) return j <= 12 or j <= i end,
  remainders = function(_, _, i, j) return (i - j) % 8 == 0 end,
  ["roots and powers"] = function(_, h, i, j)
    return math.sqrt(i) * 2 ^ -h < math.log(j) + math.exp(-i / 9)
  end,
  quotients = function(_, h, i, j) return i / (h + 1) > math.max(j, 9) - math.min(i * 0.5, 4) end,
  hyperbolic = function(_, _, i, j) return math.tanh((i - j) / 20) > 0.3 end,
  ["negative numbers"] = function(_, _, i, j) return -i * (j - 20) > 50 or i:ceil() == 3 end,
  never = function() return false end,
}

local function fewer(a) return a:gsub(":ceil%(%)", "") end

describe("program:range", function()
  for name, f in pairs(functions) do
    it("never says none or all where that is wrong: " .. fewer(name), function()
      local program, sharp = keep(f), 0
      if name == "negative numbers" then
        f = function(_, _, i, j) return -i * (j - 20) > 50 or i == 3 end
      end
      for n = 0, 199 do
        local i, j, h = n * 37 % 61 + 1, n * 53 % 59 + 1, n % 3 + 1
        local box = {
          i = { i, math.min(64, i + n % 5) }, j = { j, math.min(64, j + n % 7) }, h = { h, h + n % 2 }, b = 1,
        }
        local said, truth = program:range(box), by_asking(f, box)
        if said == truth then sharp = sharp + 1 end
        if said ~= "some" then assert.equal(truth, said, ("%s, box number %d"):format(name, n)) end
      end
      assert.is_true(sharp >= 100, ("%s: only %d of 200 answers are sharp"):format(name, sharp))
    end)
  end

  it("knows that scores hide, and that a lookup has to be looked at", function()
    local program = score(function(s, _, _, i, j) return i - j > 10 and -math.huge or s end)
    assert.equal("none", program:range { i = { 30, 40 }, j = { 1, 19 } })
    assert.equal("some", program:range { i = { 30, 40 }, j = { 1, 20 } })
    program = keep(function(_, _, i, j) return ids[j] > i end)
    assert.equal("none", program:range { i = 20, j = { 1, 64 } })
    assert.equal("some", program:range { i = 20, j = { 1, 65 } })
    assert.equal("some", program:range { i = 20 })
  end)

  it("refuses what is no interval", function()
    local program = keep(function() return true end)
    fails("program:range: i must be a number or { low, high }, got a table", function()
      program:range { i = { 3, 2 } }
    end)
    fails("program:range: unknown option 'k'", function() program:range { k = 3 } end)
  end)
end)
