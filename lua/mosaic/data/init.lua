--- Reading and writing tables, arrays and tensors.
local csv = require "mosaic.data.csv"
local safetensors = require "mosaic.data.safetensors"

return {
  load = safetensors.load,
  save = safetensors.save,
  inspect = safetensors.inspect,
  read_csv = csv.read,
  count_rows = csv.count_rows,
  write_csv = require "mosaic.data.write_csv",
  json = require "mosaic.data.json",
}
