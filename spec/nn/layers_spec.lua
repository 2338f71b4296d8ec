local mosaic = require "mosaic"
local nn = mosaic.nn
local close = require "spec.support.close"
local plain = require "spec.support.plain"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"

local function gradcheck_module(module, x)
  local inputs = { x:requires_grad_() }
  for _, parameter in ipairs(module:parameters()) do inputs[#inputs + 1] = parameter end
  assert.is_true(mosaic.gradcheck(function(input) return module(input) end, inputs))
end

describe("nn layers", function()
  it("Linear: x W^T + b, and its gradients", function()
    local layer = nn.Linear { in_features = 3, out_features = 2, dtype = "f64" }
    local x = fill { 2, 4, 3 }
    local w, b = layer.weight:tolist(), layer.bias:tolist()
    close(layer(x), plain.map_rows(x:tolist(), function(row)
      local out = {}
      for i = 1, 2 do out[i] = w[i][1] * row[1] + w[i][2] * row[2] + w[i][3] * row[3] + b[i] end
      return out
    end))
    gradcheck_module(layer, fill { 2, 3 })
  end)

  it("Linear: starts within 1/sqrt(in_features), from the generator alone", function()
    local function make(seed)
      return nn.Linear { in_features = 16, out_features = 64, generator = mosaic.generator(seed) }
    end
    local a, b, c = make(1), make(1), make(2)
    assert.same(a.weight:flat(), b.weight:flat())
    assert.not_same(a.weight:flat(), c.weight:flat())
    assert.is_true(a.weight:abs():max():item() <= 0.25)
    assert.is_true(a.weight:abs():max():item() > 0.24)
    assert.is_nil(nn.Linear { in_features = 1, out_features = 1, bias = false }.bias)
  end)

  it("LayerNorm and RMSNorm: the definitions, with gradients", function()
    local x = fill { 4, 5 }
    local norm, rms = nn.LayerNorm { features = 5, dtype = "f64" }, nn.RMSNorm { features = 5, dtype = "f64" }
    norm:load_state_dict { weight = fill({ 5 }, { seed = 1 }), bias = fill({ 5 }, { seed = 2 }) }
    rms:load_state_dict { weight = fill({ 5 }, { seed = 3 }) }
    close(norm(x), plain.map_rows(x:tolist(), function(row)
      return plain.layer_norm(row, norm.weight:flat(), norm.bias:flat(), 1e-5)
    end))
    close(rms(x), plain.map_rows(x:tolist(), function(row)
      return plain.rms_norm(row, rms.weight:flat(), 1e-5)
    end))
    close(norm(x, rms(x)), norm(x + rms(x)):tolist())
    gradcheck_module(norm, fill { 2, 5 })
    gradcheck_module(rms, fill { 2, 5 })
    assert.equal(0, nn.LayerNorm { features = 5, affine = false }:num_parameters())
  end)

  it("Embedding: rows of a table by number from 1", function()
    local layer = nn.Embedding { entries = 4, features = 3, dtype = "f64" }
    local indices = mosaic.tensor({ { 4, 1 }, { 1, 2 } }, { dtype = "i64" })
    local w = layer.weight:tolist()
    close(layer(indices), { { w[4], w[1] }, { w[1], w[2] } })
    layer(indices):sum():backward()
    assert.same({ { 2, 2, 2 }, { 1, 1, 1 }, { 0, 0, 0 }, { 1, 1, 1 } }, layer.weight.grad:tolist())
  end)

  it("activations call the tensor methods with their option", function()
    local x = fill { 7 }
    close(nn.ReLU {}(x), x:relu())
    close(nn.GELU {}(x), x:gelu())
    close(nn.GELU { approximate = "tanh" }(x), x:gelu "tanh")
    close(nn.LeakyReLU { slope = 0.3 }(x), x:leaky_relu(0.3))
    close(nn.Softmax {}(x), x:softmax(-1))
    for _, name in ipairs { "SiLU", "Tanh", "Sigmoid", "ELU", "SELU", "Softplus", "ReLU6", "Hardtanh" } do
      close(nn[name] {}(x), x[name:lower()](x))
    end
    fails("LeakyReLU: unknown option 'slop', did you mean 'slope'?", function() nn.LeakyReLU { slop = 1 } end)
  end)

  it("Sequential and MLP: one after the other, with PyTorch's names", function()
    local model = nn.MLP { sizes = { 3, 5, 2 }, dtype = "f64" }
    assert.equal(3, #model)
    assert.same({ "0.bias", "0.weight", "2.bias", "2.weight" }, (function()
      local list = {}
      for name in model:named_parameters() do list[#list + 1] = name end
      return list
    end)())
    local x = fill { 4, 3 }
    close(model(x), model[3](model[1](x):gelu()))
    gradcheck_module(model, fill { 2, 3 })
    local one = nn.Linear { in_features = 3, out_features = 3, dtype = "f64" }
    for _, kind in ipairs { "none", "tanh" } do
      local gelu = nn.GELU { approximate = kind }
      local longer = nn.Sequential { one, gelu, one, gelu, one, one, gelu }
      close(longer(x), one(one(one(one(x):gelu(kind)):gelu(kind))):gelu(kind))
    end
    fails("Sequential: element 2 is not a module", function() nn.Sequential { nn.ReLU {}, 3 } end)
    fails("MLP: sizes needs at least 2 entries, got 1", function() nn.MLP { sizes = { 3 } } end)
  end)

  it("Dropout: zeroes a share, scales the rest, and does nothing in eval", function()
    local layer = nn.Dropout { p = 0.25, generator = mosaic.generator(3) }
    local x = mosaic.full({ 10000, requires_grad = true }, 3)
    local y = layer(x)
    local kept = 0
    for _, value in ipairs(y:flat()) do
      assert.is_true(value == 0 or value == 4)
      if value == 4 then kept = kept + 1 end
    end
    assert.is_true(math.abs(kept / 10000 - 0.75) < 0.02)
    y:sum():backward()
    close(x.grad, y:detach() / 3, 1e-6)
    assert.not_same(y:flat(), layer(x):flat())
    layer:eval()
    assert.same(x:flat(), layer(x):flat())
    layer:train()
    assert.same(x:flat(), nn.Dropout { p = 0 }(x):flat())
    fails("Dropout: p must be at least 0 and below 1, got 1", function() nn.Dropout { p = 1 } end)
  end)
end)

describe("nn.Dropout on sharded rows", function()
  it("drops what one rank would drop", function()
    local x = mosaic.ones { 7, 5 }
    local function drop(part, first)
      local layer = nn.Dropout { p = 0.5, generator = mosaic.generator(9) }
      return layer(part, { global = { shape = { 7, 5 }, offset = { first, 1 } } })
    end
    local whole = drop(x, 1)
    close(mosaic.cat({ drop(x:narrow(1, 1, 3), 1), drop(x:narrow(1, 4, 4), 4) }, 1), whole, 0)
    close(nn.Dropout { p = 0.5, generator = mosaic.generator(9) }(x), whole, 0)
  end)
end)

describe("nn losses", function()
  local logits = mosaic.tensor({ { 1, 2, -1 }, { 0.5, 0, 3 } }, { dtype = "f64" })
  local targets = mosaic.tensor({ 2, 1 }, { dtype = "i64" })

  it("cross_entropy: the mean of -log softmax at the target", function()
    local rows = logits:tolist()
    local a, b = -plain.log_softmax(rows[1])[2], -plain.log_softmax(rows[2])[1]
    close(nn.cross_entropy(logits, targets), (a + b) / 2)
    close(nn.cross_entropy(logits, targets, { reduction = "sum" }), a + b)
    close(nn.cross_entropy(logits, targets, { reduction = "none" }), { a, b })
    fails("cross_entropy: reduction \"men\" is not one of mean, sum, none (did you mean 'mean'?)",
      function() nn.cross_entropy(logits, targets, { reduction = "men" }) end)
  end)

  it("cross_entropy: of no rows the sum is 0, and gradients flow", function()
    local none = mosaic.zeros { 0, 3, dtype = "f64", requires_grad = true }
    local sum = nn.cross_entropy(none, mosaic.zeros { 0, dtype = "i64" }, { reduction = "sum" })
    assert.equal(0, sum:item())
    sum:backward()
    assert.same({ 0, 3 }, none.grad.shape)
  end)

  it("mse_loss", function()
    close(nn.mse_loss(logits, logits + 2), 4)
    close(nn.mse_loss(logits, logits - 1, { reduction = "sum" }), 6)
    fails("mse_loss: x is f32 [4], y is f32 [4,1]: the shapes must be equal",
      function() nn.mse_loss(mosaic.ones { 4 }, mosaic.ones { 4, 1 }) end)
    fails("mse_loss: y must be a tensor, got 3", function() nn.mse_loss(logits, 3) end)
  end)
end)
