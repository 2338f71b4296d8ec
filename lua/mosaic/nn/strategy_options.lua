--- A layer whose backend is one strategy, the options of which are the layer's own.
--
--   strategy_options(layer, options, "composed", { "seq_parallel" }) -> options of MultiAxisAttention
--
-- `inner` names the options that are strategies themselves: they are looked up here and now, so that a wrong
-- name is an error where the layer is made. attention_axis defaults to -2, the one before the embedding.
local check = require "mosaic.check"
local strategy = require "mosaic.strategy"

local LAYER = {
  "embed_dim", "num_heads", "num_kv_heads", "attention_axis", "axes", "causal", "bias", "layout", "indices",
  "comm", "scale", "wire", "dropout", "dtype", "device", "generator",
}

return function(layer, options, name, inner)
  local own, known = strategy.get(name).body.options, { unpack(LAYER) }
  for _, option in ipairs(own) do known[#known + 1] = option end
  check.options(layer.class_name, options, known)
  local backend, rest = { name }, { attention_axis = -2 }
  for _, option in ipairs(own) do backend[option] = options[option] end
  for _, option in ipairs(LAYER) do
    if options[option] ~= nil then rest[option] = options[option] end
  end
  for _, option in ipairs(inner) do
    if options[option] ~= nil then strategy.get(options[option]) end
  end
  rest.backend = backend
  return rest
end
