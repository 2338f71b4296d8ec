local mosaic = require "mosaic"
local close = require "spec.support.close"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"
local plain = require "spec.support.plain"

local function ids(list) return mosaic.tensor(list, { dtype = "i64" }) end

describe("cross_entropy", function()
  local targets = { 3, 1, 19, 7, 19, 2 }

  local function losses(logits)
    local rows = {}
    for i, row in ipairs(logits:tolist()) do rows[i] = -plain.log_softmax(row)[targets[i]] end
    return rows
  end

  it("is minus the log of the target's probability, in every dtype", function()
    for dtype, bound in pairs { f64 = 1e-14, f32 = 1e-6, bf16 = 1e-6, f16 = 1e-6 } do
      local logits = (fill { 6, 19 } * 5):to(dtype)
      local want = losses(logits)
      local sum = plain.sum(want)
      close(logits:cross_entropy(ids(targets), { reduction = "none" }), want, bound)
      close(logits:cross_entropy(ids(targets), { reduction = "sum" }), sum, bound)
      close(mosaic.cross_entropy(logits, ids(targets)), sum / 6, bound)
      close(logits:t():contiguous():t():cross_entropy(ids(targets)), sum / 6, bound)
    end
  end)

  it("takes any leading axes", function()
    local logits = fill { 2, 3, 19 }
    local want = losses(logits:view(6, 19))
    close(logits:cross_entropy(ids(targets):view(2, 3), { reduction = "none" }):flatten(), want)
    close(logits[1][1]:cross_entropy(ids(3)), want[1])
  end)

  it("leaves ignored rows out", function()
    local logits = fill { 6, 19 }
    local want = losses(logits)
    local partly = ids { 3, -100, 19, -100, -100, 2 }
    close(logits:cross_entropy(partly, { ignore_index = -100 }), (want[1] + want[3] + want[6]) / 3)
    close(logits:cross_entropy(partly, { ignore_index = -100, reduction = "none" }),
      { want[1], 0, want[3], 0, 0, want[6] })
    close(logits:cross_entropy(mosaic.zeros { 6, dtype = "i64" }, { ignore_index = 0 }), 0 / 0)
  end)

  it("stays exact for far-off logits and lets NaN through", function()
    local logits = mosaic.tensor({ { 1e4, 1e4 - 1 }, { -1e4, 1e4 }, { 0 / 0, 0 } }, { dtype = "f32" })
    close(logits:cross_entropy(ids { 1, 1, 2 }, { reduction = "none" }),
      { math.log(1 + math.exp(-1)), 2e4, 0 / 0 }, 1e-7)
  end)

  it("of no rows is 0 in sum and NaN in the mean", function()
    local none, nothing = mosaic.zeros { 0, 3 }, mosaic.zeros { 0, dtype = "i64" }
    assert.equal(0, none:cross_entropy(nothing, { reduction = "sum" }):item())
    close(none:cross_entropy(nothing), 0 / 0)
    assert.same({ 0 }, none:cross_entropy(nothing, { reduction = "none" }).shape)
  end)

  it("names a wrong target and its place", function()
    local logits = mosaic.zeros { 2, 3 }
    fails("cross_entropy: target 4 at position 2 is outside 1..3",
      function() logits:cross_entropy(ids { 1, 4 }) end)
    fails("cross_entropy: expected logits (..., k) and i64 targets (...), got f32 [2,3] and i64 [3]",
      function() logits:cross_entropy(ids { 1, 1, 1 }) end)
    fails("cross_entropy: reduction \"men\" is not one of mean, sum, none (did you mean 'mean'?)",
      function() logits:cross_entropy(ids { 1, 1 }, { reduction = "men" }) end)
    fails("cross_entropy: unknown option 'ignored_index', did you mean 'ignore_index'?",
      function() logits:cross_entropy(ids { 1, 1 }, { ignored_index = 1 }) end)
  end)
end)
