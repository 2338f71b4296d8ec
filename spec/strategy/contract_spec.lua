--- Every strategy file keeps the contract as it is asked for by its name alone; a new file is picked up here.
-- What a strategy's options change stands in its own spec.
local mosaic = require "mosaic"
local contract = require "spec.support.contract"
local cases = require "spec.support.contract_cases"

--- The masks of these names.
local function masks(...)
  local list = {}
  for _, name in ipairs { ... } do list[name] = cases.MASKS[name] end
  return list
end

--- What differs from the contract of an exact strategy that takes everything.
local PARTICULARS = {
  ["local"] = { ranks = { 1 } },
  -- what is far depends on the ranks: only pools of single rows have a one-rank answer
  compressed = {
    strategy = { "compressed", ratio = 1 }, masks = masks("none", "prefix", "causal"),
    layouts = { "contiguous" }, same_length = true,
  },
  infini = {
    strategy = { "infini", segment = 4, beta = mosaic.tensor({ -0.5, 0.25 }, { dtype = "f64" }) },
    truth = "self", masks = masks("causal", "alibi"), layouts = { "contiguous" }, heads = { 2, 1 },
    dtypes = { "f64" }, same_length = true,
  },
}

describe("the contract", function()
  for _, name in ipairs(mosaic.strategy.names()) do
    local particulars = PARTICULARS[name] or {}
    describe("of " .. name, function() contract(it, particulars.strategy or name, particulars) end)
  end
end)
