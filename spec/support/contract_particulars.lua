--- What differs, by strategy, from the contract of an exact strategy that takes everything.
local mosaic = require "mosaic"
local cases = require "spec.support.contract_cases"

--- The masks of these names.
local function masks(...)
  local list = {}
  for _, name in ipairs { ... } do list[name] = cases.MASKS[name] end
  return list
end

return {
  ["local"] = { ranks = { 1 } },
  -- what is far depends on the ranks: only pools of single rows have a one-rank answer
  compressed = {
    strategy = { "compressed", ratio = 1 }, masks = masks("none", "prefix", "causal"),
    layouts = { "contiguous" }, same_length = true,
  },
  -- its own spec has the closed form
  dilated = { strategy = { "dilated", segments = { 3, 8, 16 }, rates = { 1, 3, 5 } }, truth = "self" },
  infini = {
    strategy = { "infini", segment = 4, beta = mosaic.tensor({ -0.5, 0.25 }, { dtype = "f64" }) },
    truth = "self", masks = masks("causal", "alibi"), layouts = { "contiguous" }, heads = { 2, 1 },
    dtypes = { "f64" }, same_length = true,
  },
}
