--- NumPy arrays: `mosaic.data.read_npy(path, {rows = {first, last}})`, `mosaic.data.write_npy(path, t)`.
-- Objects and structures are refused: an array holds numbers, never code.
local check = require "mosaic.check"
local file = require "mosaic.data.file"
local Tensor = require "mosaic.tensor"

local npy = {}

--- Reads an array, or only rows first..last (from 1, both included) of its first axis.
function npy.read(path, options)
  options = check.options("read_npy", options or {}, { "rows", "device" })
  local first, count = file.row_range("read_npy", options.rows)
  local c = Tensor.blank()
  check.call("mosaic_npy_read", c, file.path("read_npy", path), first, count)
  local t = Tensor.wrap(c)
  return options.device and t:to { device = options.device } or t
end

--- Replaces the file by the tensor's values, in C's order.
function npy.write(path, tensor)
  if not Tensor.is(tensor) then
    check.fail("write_npy: expected a tensor, got %s", check.show(tensor))
  end
  check.call("mosaic_npy_save", file.path("write_npy", path), tensor.c)
end

return npy
