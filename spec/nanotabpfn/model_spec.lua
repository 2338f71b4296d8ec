local mosaic = require "mosaic"
local NanoTabPFN = require "nanotabpfn.model"
local objective = require "nanotabpfn.objective"
local support = require "spec.nanotabpfn.support"

local fails, near = support.fails, support.near
local cases = mosaic.load "spec/golden/nanotabpfn_cases.safetensors"

local function run(model, case, dtype)
  local x, y = cases[case .. ".x"]:to(dtype), cases[case .. ".y"]:to(dtype)
  local train_rows = cases[case .. ".train_rows"]:item()
  return model(x, y, train_rows), y
end

describe("nanoTabPFN", function()
  it("has the published parameters", function()
    local model = NanoTabPFN {}
    assert.equal(356066, model:num_parameters())
    assert.equal(356259, NanoTabPFN { num_outputs = 3 }:num_parameters())
    local weights = mosaic.load "spec/golden/nanotabpfn_weights.safetensors"
    for name, t in pairs(model:state_dict()) do assert.same(weights[name].shape, t.shape, name) end
    for name in pairs(weights) do assert.truthy(model:state_dict()[name], name) end
  end)

  it("starts with the specified distributions", function()
    local model = NanoTabPFN { generator = mosaic.generator(4) }
    local block = model.transformer_blocks[1]
    local function largest(t) return t:detach():abs():max():item() end
    local function at_most(t, bound) assert.is_true(largest(t) <= bound and largest(t) > 0.95 * bound) end
    at_most(model.feature_encoder.linear_layer.weight, 1)
    at_most(block.self_attention_between_features.in_proj_weight, math.sqrt(6 / (4 * 96)))
    at_most(block.self_attention_between_datapoints.out_proj.weight, 1 / math.sqrt(96))
    at_most(block.linear2.weight, 1 / math.sqrt(192))
    assert.equal(0, largest(block.self_attention_between_features.in_proj_bias))
    assert.equal(0, largest(block.self_attention_between_features.out_proj.bias))
    assert.equal(1, block.norm3.weight:detach():min():item())
  end)

  for case, tables in pairs { a = 2, b = 1, c = 1, f1 = 1, q1 = 2, t2 = 1 } do
    it("gives the reference logits and loss: case " .. case .. (" (%d tables)"):format(tables), function()
      for dtype, bound in pairs { f64 = 1e-10, f32 = 1e-5 } do
        local logits, y = run(support.reference_model { dtype = dtype }, case, dtype)
        near(logits, cases[case .. ".logits"], bound)
        local loss = objective.part(logits, y, logits:size(1) * logits:size(2))
        near(loss:reshape(1), cases[case .. ".loss"], bound)
      end
    end)
  end

  it("gives the reference gradients in f32 and f64", function()
    for _, dtype in ipairs { "f32", "f64" } do
      local model = support.reference_model { dtype = dtype }
      local logits, y = run(model, "a", dtype)
      objective.part(logits, y, logits:size(1) * logits:size(2)):backward()
      local squares = 0
      for name, parameter in model:named_parameters() do
        near(parameter.grad, cases["a.grad." .. name], dtype == "f32" and 1e-4 or 1e-6, true)
        squares = squares + parameter.grad:to "f64":square():sum():item()
      end
      near(mosaic.tensor { math.sqrt(squares) }, cases["a.grad_norm"], 1e-5)
    end
  end)

  it("refuses a table that cannot be split, with the numbers", function()
    local model, x, y = support.small_model {}, support.table(1, 5, 2)
    fails("NanoTabPFN: train_rows is 1, of 5 rows; at least 2 are needed", function() model(x, y, 1) end)
    fails("NanoTabPFN: train_rows is 6, of 5 rows; at least 2 are needed", function() model(x, y, 6) end)
    fails("NanoTabPFN: unknown option 'num_head', did you mean 'num_heads'?",
      function() NanoTabPFN { num_head = 2 } end)
  end)
end)

describe("nanoTabPFN does not depend on", function()
  local model = support.small_model { dtype = "f64" }
  local x, y = support.table(2, 12, 3)
  local T = 7
  local logits = model(x, y, T):detach()
  local exact = 1e-12

  it("the order of the train rows", function()
    local order = mosaic.tensor({ 3, 1, 7, 2, 6, 5, 4, 8, 9, 10, 11, 12 }, { dtype = "i64" })
    near(model(x:index_select(2, order), y:index_select(2, order), T), logits, exact)
  end)

  it("the other test rows: dropped or batched", function()
    near(model(x:slice(2, 1, 9), y:slice(2, 1, 9), T), logits:slice(2, 1, 2), exact)
    local twice = mosaic.cat({ x, x:slice(2, 8, 12) }, 2)
    local both = model(twice, mosaic.cat({ y, y:slice(2, 8, 12) }, 2), T)
    near(both:slice(2, 6, 10), logits, exact)
  end)

  it("the labels of the test rows", function()
    local other = y:clone()
    other:slice(2, T + 1):fill_(9)
    near(model(x, other, T), logits, 0)
  end)

  it("the order of the features", function()
    near(model(x:index_select(3, mosaic.tensor({ 3, 1, 2 }, { dtype = "i64" })), y, T), logits, exact)
  end)

  it("the unit and origin of a feature", function()
    local unit = mosaic.tensor({ 2, 0.5, 1 }, { dtype = "f64" })
    local origin = mosaic.tensor({ -3, 0.25, 8 }, { dtype = "f64" })
    local moved = x * unit + origin
    near(model(moved, y, T), logits, exact)
  end)

  it("the other tables of the batch", function()
    near(model(x:slice(1, 2, 2), y:slice(1, 2, 2), T), logits:slice(1, 2, 2), exact)
  end)

  it("the value of a feature that is constant over the train rows", function()
    local function with(value, test_value)
      local changed = x:clone()
      changed:select(3, 2):fill_(value)
      changed:select(3, 2):slice(2, T + 1):fill_(test_value)
      return model(changed, y, T)
    end
    near(with(0.1, 5), with(1e6, -2), 0)
  end)
end)

describe("nanoTabPFN must change with", function()
  local model = support.small_model { dtype = "f64" }
  local x, y = support.table(1, 12, 3)
  local T = 7
  local logits = model(x, y, T):detach()

  local function changes(other_x, other_y, train_rows)
    assert.is_true(support.distance(model(other_x, other_y, train_rows or T), logits) > 1e-4)
  end

  it("a negated feature", function()
    changes(x * mosaic.tensor({ 1, -1, 1 }, { dtype = "f64" }), y)
  end)

  it("swapped labels", function() changes(x, 1 - y) end)
  it("labels raised by one", function() changes(x, y + 1) end)

  it("one flipped label", function()
    local other = y:clone()
    other:set(1, 5, 1 - y:get(1, 5))
    changes(x, other)
  end)

  it("a test row's own features", function()
    local other = x:clone()
    other:set(1, 8, 1, x:get(1, 8, 1) + 1)
    local changed = model(other, y, T)
    assert.is_true(support.distance(changed:slice(2, 1, 1), logits:slice(2, 1, 1)) > 1e-4)
    near(changed:slice(2, 2), logits:slice(2, 2), 1e-12)
  end)
end)
