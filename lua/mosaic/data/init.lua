--- Reading and writing tables, arrays and tensors.
local safetensors = require "mosaic.data.safetensors"

return {
  load = safetensors.load,
  save = safetensors.save,
  inspect = safetensors.inspect,
  json = require "mosaic.data.json",
}
