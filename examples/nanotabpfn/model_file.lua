--- A model in a file: safetensors with the published names, and the sizes in the metadata.
local mosaic = require "mosaic"
local NanoTabPFN = require "nanotabpfn.model"
local fail = require "support.fail"

local model_file = {}

local SIZES = { "embed_dim", "num_heads", "mlp_hidden", "num_layers", "num_outputs" }

function model_file.save(path, model)
  local metadata = {}
  for _, name in ipairs(SIZES) do metadata[name] = tostring(model.sizes[name]) end
  mosaic.save(path, model:state_dict(), metadata)
end

--- options: those of NanoTabPFN that are not in the file, such as backend and dtype.
function model_file.load(path, options)
  local state, metadata = fail.reading(mosaic.load, path)
  local all = {}
  for name, value in pairs(options or {}) do all[name] = value end
  for _, name in ipairs(SIZES) do
    all[name] = tonumber(metadata[name])
    if not all[name] then
      fail("%s: not a nanoTabPFN model: its metadata lacks '%s'", path, name)
    end
  end
  return NanoTabPFN(all):load_state_dict(state)
end

return model_file
