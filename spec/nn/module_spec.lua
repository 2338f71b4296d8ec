local mosaic = require "mosaic"
local nn = mosaic.nn
local fails = require "spec.support.fails"

local Pair = mosaic.class("Pair", nn.Module)

function Pair:init()
  self.zeta = nn.Linear { in_features = 2, out_features = 3, dtype = "f64" }
  local norm = nn.LayerNorm { features = 3, dtype = "f64" }
  self.blocks = { norm, nn.Linear { in_features = 3, out_features = 1 } }
  self.scale = mosaic.full({ 2, dtype = "f64", requires_grad = true }, 4)
  self.count = mosaic.zeros { 1, dtype = "i64" }
  self._cache = mosaic.zeros { 9 }
  self.note = "not a tensor"
end

function Pair:forward(x) return self.blocks[1](self.zeta(x)) end

local function names(iterator)
  local list = {}
  for name in iterator do list[#list + 1] = name end
  return list
end

describe("nn.Module", function()
  it("finds parameters and buffers in its fields, in the order of their names", function()
    local model = Pair()
    assert.same({ "scale", "blocks.0.bias", "blocks.0.weight", "blocks.1.bias", "blocks.1.weight",
      "zeta.bias", "zeta.weight" }, names(model:named_parameters()))
    assert.same({ "count" }, names(model:named_buffers()))
    assert.equal(2 + 3 + 3 + 1 + 3 + 3 + 6, model:num_parameters())
    assert.equal(7, #model:parameters())
  end)

  it("counts a shared tensor once", function()
    local model = Pair()
    model.blocks[1].weight = model.zeta.bias
    assert.equal(6, #model:parameters())
    assert.equal(model:state_dict()["blocks.0.weight"]:get(1), model:state_dict()["zeta.bias"]:get(1))
  end)

  it("saves and restores its state, which shares the module's memory", function()
    local a, b = Pair(), Pair()
    b:load_state_dict(a:state_dict())
    local x = mosaic.tensor({ { 1, -2 }, { 0.5, 3 } }, { dtype = "f64" })
    assert.same(a(x):tolist(), b(x):tolist())
    a:state_dict().scale:fill_(7)
    assert.same({ 7, 7 }, a.scale:tolist())
    assert.same({ 4, 4 }, b.scale:tolist())
  end)

  it("names everything that does not fit, and then changes nothing", function()
    local model, state = Pair(), Pair():state_dict()
    state["blocks.0.weight"], state["blocks.0.weigth"] = nil, mosaic.zeros { 3 }
    state.scale = mosaic.zeros { 5, dtype = "f64" }
    fails("load_state_dict: Pair does not fit: scale is f64 [2] here and f64 [5] there; "
      .. "missing blocks.0.weight; unexpected blocks.0.weigth", function() model:load_state_dict(state) end)
    assert.same({ 4, 4 }, model.scale:tolist())
    state.scale = mosaic.full({ 2, dtype = "f32" }, 5)
    model:load_state_dict(state, { strict = false })
    assert.same({ 5, 5 }, model.scale:tolist())
    assert.equal("f64", model.scale.dtype)
  end)

  it("switches training mode for everything below", function()
    local model = Pair()
    assert.is_true(model.zeta.training)
    model:eval()
    assert.is_false(model.training)
    assert.is_false(model.blocks[2].training)
    model:train()
    assert.is_true(model.blocks[2].training)
  end)

  it("converts floats in place of the same tensors and leaves integers alone", function()
    local model = Pair()
    local weight = model.zeta.weight
    model:to "f32"
    assert.equal(weight, model.zeta.weight)
    assert.equal("f32", weight.dtype)
    assert.equal("i64", model.count.dtype)
    assert.is_true(weight.requires_grad)
    weight:sum():backward()
    assert.equal("f32", weight.grad.dtype)
    model:zero_grad()
    assert.is_nil(weight.grad)
  end)

  it("visits every module with apply", function()
    local seen = {}
    Pair():apply(function(module) seen[#seen + 1] = module.class_name end)
    assert.same({ "Pair", "LayerNorm", "Linear", "Linear" }, seen)
  end)

  it("prints as a tree", function()
    local lines = { "Pair()", "  blocks.0: LayerNorm(3, eps 1e-05)", "  blocks.1: Linear(3 -> 1)",
      "  zeta: Linear(2 -> 3)" }
    assert.equal(table.concat(lines, "\n"), tostring(Pair()))
  end)

  it("knows modules from other values", function()
    assert.is_true(nn.Module.is(Pair()))
    assert.is_false(nn.Module.is(mosaic.zeros { 1 }))
    assert.is_false(nn.Module.is {})
    assert.is_false(nn.Module.is "x")
  end)

  it("says which class lacks a forward method", function()
    local Empty = mosaic.class("Empty", nn.Module)
    fails("Empty has no forward method", function() Empty()(1) end)
  end)
end)
