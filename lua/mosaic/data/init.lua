--- Reading and writing tables, arrays and tensors.
local csv = require "mosaic.data.csv"
local npy = require "mosaic.data.npy"
local safetensors = require "mosaic.data.safetensors"

return {
  load = safetensors.load,
  save = safetensors.save,
  inspect = safetensors.inspect,
  read_csv = csv.read,
  count_rows = csv.count_rows,
  write_csv = require "mosaic.data.write_csv",
  read_npy = npy.read,
  write_npy = npy.write,
  json = require "mosaic.data.json",
}
