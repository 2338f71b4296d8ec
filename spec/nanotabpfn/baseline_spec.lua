local knn = require "nanotabpfn.baseline.knn"
local logistic = require "nanotabpfn.baseline.logistic"
local majority = require "nanotabpfn.baseline.majority"

describe("baselines", function()
  local train = { { 0 }, { 1 }, { 2 }, { 10 }, { 11 }, { 12 } }
  local labels = { 1, 1, 1, 2, 2, 2 }

  it("majority: the shares of the classes", function()
    assert.same({ { 0.5, 0.5 }, { 0.5, 0.5 } }, majority(train, labels, { { 3 }, { 4 } }, 2))
  end)

  it("kNN: the shares among the five nearest", function()
    local p = knn(train, labels, { { 0.4 }, { 11 } }, 2)
    assert.near(3 / 5, p[1][1], 1e-12)
    assert.near(3 / 5, p[2][2], 1e-12)
  end)

  --- Gradient of the penalised loss at the solution must vanish: checked through the fitted probabilities.
  it("logistic: at the minimum of its penalised loss", function()
    local p = logistic(train, labels, train, 2)
    local residual = 0
    for i = 1, 6 do residual = residual + p[i][2] - (labels[i] == 2 and 1 or 0) end
    assert.near(0, residual, 1e-8) -- the intercept is not penalised
    local mean, sd, gradient = 6, 0, 0
    for i = 1, 6 do sd = sd + (train[i][1] - mean) ^ 2 / 6 end
    sd = math.sqrt(sd)
    local slope = (math.log(p[6][2] / p[6][1]) - math.log(p[1][2] / p[1][1])) / (12 / sd)
    for i = 1, 6 do
      gradient = gradient + (p[i][2] - (labels[i] == 2 and 1 or 0)) * (train[i][1] - mean) / sd
    end
    assert.near(0, gradient + slope, 1e-7)
  end)

  it("logistic: several classes, probabilities that sum to 1", function()
    local rows = { { 0 }, { 1 }, { 5 }, { 6 }, { 20 }, { 21 } }
    local p = logistic(rows, { 1, 1, 2, 2, 3, 3 }, { { 0 }, { 20 } }, 3)
    assert.near(1, p[1][1] + p[1][2] + p[1][3], 1e-12)
    assert.is_true(p[1][1] > p[1][3])
    assert.is_true(p[2][3] > p[2][1])
  end)
end)
