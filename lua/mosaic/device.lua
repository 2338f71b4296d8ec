--- Devices: their names, which there are, and the one that new tensors go to.
--
-- A device is "cpu", or a family and a number, "cuda:0"; the family alone stands for this process's own, by
-- its local rank. Tensors whose options name no device are made on the default one of their rank: what
-- mosaic.set_default_device said, else mosaic-lua's --device, else MOSAIC_DEVICE, else the CPU.
local ffi = require "ffi"
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local state = require "mosaic.state"

local device = {}

local FAMILIES = { "cpu", "cuda" } -- that devices() looks for; plug-ins may bring others

local full_names = { cpu = "cpu" } -- by the names that were given

--- A family that is not there may be one misspelt, or want what is missing.
local function hint(name, problem)
  local family = name:match "^%a*"
  local near = check.nearest(family, { "cuda", "cpu" })
  if near and near ~= family then return (" (did you mean '%s'?)"):format(near) end
  if family ~= "cuda" then return "" end
  if problem:find("there is no plug-in", 1, true) then return "; it needs nvcc and cuBLAS" end
  if not problem:find ": libcu" and not problem:find ": libnv" then return "" end
  return "; CUDA 13's libraries are missing: install its toolkit, or put the folder that has them, such as "
    .. "/usr/local/cuda/lib64, in LD_LIBRARY_PATH"
end

--- What C says of the device `name`, and what to do.
local function problem_of(name)
  local problem = ffi.string(C.mosaic_last_error())
  return problem .. hint(name, problem)
end

local function look_up(name)
  local full = ffi.new "const char *[1]"
  if C.mosaic_device_name(full, name) ~= C.MOSAIC_OK then
    return nil, problem_of(name)
  end
  full_names[name] = ffi.string(full[0])
  return full_names[name]
end

--- The full name of a device, "cuda:0" for "cuda"; or nil and why it cannot be used.
function device.find(name)
  if type(name) ~= "string" or name == "" then
    return nil, ("device must be a name such as \"cuda:0\", got %s"):format(check.show(name))
  end
  local full = full_names[name]
  if full then return full end
  return look_up(name)
end

--- The full name of a device that an option of `where` names (nil: the default one).
function device.resolve(where, name)
  if name == nil then return state.current.device or device.default() end
  local full, wrong = device.find(name)
  return full or check.fail("%s: %s", where, wrong)
end

--- The full name of the device that tensors are made on.
function device.default()
  local rank = state.current
  local name = os.getenv "MOSAIC_DEVICE"
  rank.device = rank.device or device.resolve("MOSAIC_DEVICE", name ~= "" and name or "cpu")
  return rank.device
end

--- The name that x:cuda(number) means.
function device.cuda(where, number)
  if number == nil then return "cuda" end
  return ("cuda:%d"):format(check.integer(where, "the device's number", number, 0))
end

--- From here on, this rank makes its tensors there. Returns the full name.
function device.set_default(name)
  if name == nil then check.fail("set_default_device: device must be a name such as \"cuda:0\", got nil") end
  state.current.device = device.resolve("set_default_device", name)
  return state.current.device
end

--- Runs body(...), which cannot yield in a coroutine, with another default device; returns its results, and
-- restores on error.
function device.with(name, body, ...)
  check.callable("with_device", "the body", body)
  return state.with("device", device.resolve("with_device", name), "with_device", body, ...)
end

--- The full name of a device: an error where there is no such one.
function device.name(name) return device.resolve("device_name", name) end

--- Waits until a device (default: the default one) has done all that was asked of it.
function device.synchronize(name) check.call("mosaic_synchronize", device.resolve("synchronize", name)) end

local function describe(family, number)
  local info = ffi.new "mosaic_device_info"
  check.call("mosaic_device_describe", info, family, number)
  return {
    name = ffi.string(info.name), model = ffi.string(info.model), details = ffi.string(info.details),
    total_bytes = tonumber(info.total_bytes),
  }
end

--- The devices of one family, or nil and why there are none.
local function list(family)
  local count, found = ffi.new "int[1]", {}
  if C.mosaic_device_count(count, family) ~= C.MOSAIC_OK then
    return nil, problem_of(family)
  end
  for i = 0, count[0] - 1 do found[i + 1] = describe(family, i) end
  return found
end

--- What this machine has: a list of { name, model, details, total_bytes }, the CPU first; or of one family
-- only, which is an error where there is none: mosaic.devices "cuda".
function device.list(family)
  if family ~= nil then
    local found, wrong = list(check.kind("devices", "the family", family, "string"))
    return found or check.fail("devices: %s", wrong)
  end
  local all = {}
  for _, each in ipairs(FAMILIES) do
    for _, found in ipairs(list(each) or {}) do all[#all + 1] = found end
  end
  return all
end

return device
