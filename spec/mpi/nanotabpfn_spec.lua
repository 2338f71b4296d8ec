local mosaic = require "mosaic"
local curve = require "spec.nanotabpfn.curve"
local support = require "spec.nanotabpfn.support"

describe("nanoTabPFN on MPI ranks", function()
  it("follows the reference loss for 20 steps", function()
    local golden = mosaic.load "spec/golden/nanotabpfn_train20.safetensors"
    local trainer = curve.reference("f32", golden, "ring")
    support.near(mosaic.tensor(trainer.losses, { dtype = "f64" }), golden.loss, 1e-4)
  end)

  it("has the loss curve of one rank on rows that do not divide", function()
    local expected, got = curve.small { backend = "local" }, curve.small { backend = "ring" }
    for step = 1, 20 do assert.is_true(math.abs(got[step] - expected[step]) <= 1e-4) end
  end)
end)
