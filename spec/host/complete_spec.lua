local complete = require "mosaic.host.complete"
local mosaic = require "mosaic"

describe("completion", function()
  local root = { mosaic = mosaic, model = { layers = { { } }, name = "m" }, mode = 1, text = "abc",
    t = mosaic.zeros(2), ["not a name"] = 1 }

  it("finds globals", function()
    assert.same({ "mode", "model" }, complete("mod", root))
    assert.same({}, complete("nothing", root))
  end)

  it("finds fields along a path", function()
    assert.same({ "model.layers", "model.name" }, complete("model.", root))
    assert.same({ "mosaic.zeros" }, complete("mosaic.zero", { mosaic = { zeros = 1, ones = 2 } }))
  end)

  it("finds methods after a colon, of strings too, and no plain values there", function()
    assert.same({ "text:rep", "text:reverse" }, complete("text:re", { text = "x" }))
    assert.same({ "t:contiguous" }, complete("t:contig", root))
    assert.same({}, complete("model:na", root))
  end)

  it("finds the properties of tensors", function()
    assert.same({ "t.dtype" }, complete("t.dty", root))
  end)

  it("says nothing about paths that lead nowhere", function()
    assert.same({}, complete("nowhere.to.be", root))
    assert.same({}, complete("mode.x.y", root))
  end)
end)
