--- The device that specs run on: MOSAIC_TEST_DEVICE, by default the CPU.
--
--   device.name             "cpu", "cuda", "cuda:1": for `device = device.name`
--   device.emulated         is it one of cuda/emulated?
--   device.capability()     90 for compute capability 9.0; the CPU's is 0
--   device.cpu_only(why)    in the body of a test: it is skipped on other devices
--   device.emulated_only(why)
--
-- Specs in spec/cuda name their devices. All others run unchanged on any: scripts/run-specs.lua makes
-- MOSAIC_TEST_DEVICE their default device.
local device = { name = os.getenv "MOSAIC_TEST_DEVICE" or "cpu" }

local plugin = os.getenv "MOSAIC_CUDA_LIB" or ""
device.emulated = device.name ~= "cpu" and plugin:find("emulated", 1, true) ~= nil

--- `pending` of the test whose body called us; only there it skips.
local function skip(why, level) getfenv(level + 1).pending(why) end

function device.capability()
  if device.name == "cpu" then return 0 end
  local mosaic = require "mosaic"
  local number = tonumber(device.name:match "%d+$" or 0)
  local major, minor = mosaic.devices("cuda")[number + 1].details:match "compute capability (%d+)%.(%d)"
  return 10 * major + minor
end

function device.cpu_only(why)
  if device.name ~= "cpu" then skip("on the CPU only: " .. why, 2) end
end

function device.emulated_only(why)
  if not device.emulated then skip("on an emulated device only: " .. why, 2) end
end

return device
