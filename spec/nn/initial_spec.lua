local mosaic = require "mosaic"
local nn = mosaic.nn
local fails = require "spec.support.fails"

--- Mean, standard deviation and largest magnitude of a filled (200, 100) matrix.
local function facts(fill)
  local t = mosaic.empty { 200, 100, requires_grad = true }
  fill(t, mosaic.generator(5))
  local x = t:detach():to "f64"
  return x:mean():item(), x:std():item(), x:abs():max():item(), t
end

describe("nn.initial", function()
  it("xavier_uniform_: within sqrt(6 / (in + out))", function()
    local mean, std, most, t = facts(function(t, g) nn.initial.xavier_uniform_(t, { generator = g }) end)
    local bound = math.sqrt(6 / 300)
    assert.is_true(math.abs(mean) < 0.002)
    assert.is_true(math.abs(std - bound / math.sqrt(3)) < 0.002)
    assert.is_true(most <= bound and most > 0.99 * bound)
    assert.is_true(t.requires_grad)
  end)

  it("kaiming_uniform_: within gain sqrt(3 / in)", function()
    local _, _, most = facts(function(t, g) nn.initial.kaiming_uniform_(t, { generator = g, gain = 1 }) end)
    assert.is_true(most <= math.sqrt(3 / 100) and most > 0.99 * math.sqrt(3 / 100))
  end)

  it("normal_, xavier_normal_, kaiming_normal_: the standard deviation", function()
    local wanted = {
      normal_ = 0.5, xavier_normal_ = math.sqrt(2 / 300), kaiming_normal_ = math.sqrt(2 / 100),
    }
    for name, std in pairs(wanted) do
      local _, got = facts(function(t, g)
        if name == "normal_" then nn.initial.normal_(t, 0, 0.5, { generator = g })
        else nn.initial[name](t, { generator = g }) end
      end)
      assert.is_true(math.abs(got / std - 1) < 0.02, name)
    end
  end)

  it("zeros_, ones_ and constant_", function()
    local t = mosaic.empty { 2, requires_grad = true }
    assert.same({ 0, 0 }, nn.initial.zeros_(t):tolist())
    assert.same({ 1, 1 }, nn.initial.ones_(t):tolist())
    assert.same({ 3, 3 }, nn.initial.constant_(t, 3):tolist())
  end)

  it("needs two axes for a fan-in", function()
    local t = mosaic.empty { 5 }
    fails("xavier_uniform_: f32 [5] has no fan-in: at least 2 dims are needed",
      function() nn.initial.xavier_uniform_(t) end)
  end)
end)
