--- Every strategy file keeps the contract as it is asked for by its name alone; a new file is picked up here.
-- What a strategy's options change stands in its own spec.
local mosaic = require "mosaic"
local contract = require "spec.support.contract"
local particulars = require "spec.support.contract_particulars"

describe("the contract", function()
  for _, name in ipairs(mosaic.strategy.names()) do
    local own = particulars[name] or {}
    describe("of " .. name, function() contract(it, own.strategy or name, own) end)
  end
end)
