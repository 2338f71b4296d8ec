local random_attention = require "spec.support.random_attention"

--- MOSAIC_RANDOM_CALLS=1000 MOSAIC_RANDOM_SEED=4711 looks further.
local calls, first = os.getenv "MOSAIC_RANDOM_CALLS" or 60, os.getenv "MOSAIC_RANDOM_SEED" or 1

describe("random calls of attention", function()
  it("agree with f64", function()
    for seed = first, first + calls - 1 do random_attention.check(seed, { device = "cpu" }) end
  end)
end)
