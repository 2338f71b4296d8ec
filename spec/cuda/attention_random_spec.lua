local device = require "spec.support.device"
local on = require "spec.support.device_attention"
local random_attention = require "spec.support.random_attention"

--- MOSAIC_RANDOM_CALLS=1000 MOSAIC_RANDOM_SEED=4711 looks further.
local calls, first = os.getenv "MOSAIC_RANDOM_CALLS" or 8, os.getenv "MOSAIC_RANDOM_SEED" or 1
--- On tensor cores, of what other specs have compiled.
local KINDS = { { "bf16", 6 }, { "f16", 20 }, { "bf16", 24 }, { "f32", 24 } }

describe("random calls of attention on a GPU agree with f64", function()
  for path, kinds in pairs { tensor = KINDS, plain = false, auto = false } do
    it("by MOSAIC_ATTENTION=" .. path, function()
      on.choose(path)
      finally(function() on.choose(nil) end)
      for seed = first, first + calls - 1 do
        random_attention.check(seed, { device = device.name, kinds = kinds, without_bias = path == "tensor" })
      end
    end)
  end
end)
