--- Reading and writing tables, arrays and tensors.
local csv = require "mosaic.data.csv"
local json_file = require "mosaic.data.json.file"
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
  read_json = json_file.read,
  write_json = json_file.write,
  json = require "mosaic.data.json",
  make_folder = require "mosaic.data.folder",
}
