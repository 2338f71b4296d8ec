local metrics = require "nanotabpfn.metrics"

describe("metrics", function()
  it("AUC: the share of ordered pairs, ties counting half", function()
    local scores, positive = { 0.1, 0.4, 0.4, 0.8, 0.4 }, { false, true, false, true, true }
    local sum, pairs_ = 0, 0
    for i = 1, 5 do
      for j = 1, 5 do
        if positive[i] and not positive[j] then
          pairs_ = pairs_ + 1
          sum = sum + (scores[i] > scores[j] and 1 or scores[i] == scores[j] and 0.5 or 0)
        end
      end
    end
    assert.equal(sum / pairs_, metrics.binary_auc(scores, positive))
    assert.equal(1, metrics.binary_auc({ 1, 2 }, { false, true }))
    assert.equal(0, metrics.binary_auc({ 2, 1 }, { false, true }))
    assert.is_nil(metrics.binary_auc({ 1, 2 }, { true, true }))
  end)

  it("AUC of several classes: one against the rest, in the mean", function()
    local p = { { 0.7, 0.2, 0.1 }, { 0.3, 0.4, 0.3 }, { 0.5, 0.1, 0.4 }, { 0.2, 0.3, 0.5 } }
    local labels = { 1, 2, 1, 3 }
    assert.equal((1 + 1 + 1) / 3, metrics.auc(p, labels, 3))
    assert.near((1 / 2 + 1 + 2 / 3) / 3, metrics.auc(p, { 1, 2, 3, 1 }, 3), 1e-12)
  end)

  it("accuracy: the first of equally likely classes counts", function()
    assert.equal(0.5, metrics.accuracy({ { 0.5, 0.5 }, { 0.1, 0.9 } }, { 2, 2 }))
  end)
end)
