--- NumPy arrays: `mosaic.data.read_npy(path, {rows = {first, last}})`, `mosaic.data.write_npy(path, t)`.
-- Objects and structures are refused: an array holds numbers, never code.
local check = require "mosaic.check"
local devices = require "mosaic.device"
local file = require "mosaic.data.file"
local Tensor = require "mosaic.tensor"

local npy = {}

--- Reads an array, or only rows first..last (from 1, both included) of its first axis. options: rows, device.
function npy.read(path, options)
  options = check.options("read_npy", options or {}, { "rows", "device" })
  local first, count = file.row_range("read_npy", options.rows)
  local device, c = devices.resolve("read_npy", options.device), Tensor.blank()
  check.call("mosaic_npy_read", c, file.path("read_npy", path), first, count)
  return Tensor.wrap(c):to { device = device }
end

--- Replaces the file by the tensor's values, in C's order.
function npy.write(path, tensor)
  if not Tensor.is(tensor) then
    check.fail("write_npy: expected a tensor, got %s", check.show(tensor))
  end
  check.call("mosaic_npy_save", file.path("write_npy", path), tensor.c)
end

return npy
