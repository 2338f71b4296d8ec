--- The contract of strategies on MPI ranks with tensors on their devices: few cases, each kind of message.
local mosaic = require "mosaic"
local cases = require "spec.support.contract_cases"
local contract = require "spec.support.contract"
local device = require "spec.support.device"

local world = mosaic.comm.world()

local function few(masks)
  return {
    lengths = { 13 }, ranks = { world.size }, dtypes = { "f32" }, heads = { 2, 1 }, layouts = { "zigzag" },
    masks = masks,
    run = function(_, body) return { body(world) }, world.rank end,
  }
end

--- Every test has the device of the specs as its default one.
local function on_device(name, body)
  it(name, function() mosaic.with_device(device.name, body) end)
end

describe("on MPI ranks with devices the contract", function()
  local causal = { causal = cases.MASKS.causal }
  contract(on_device, "ring", few { causal = cases.MASKS.causal, bias = cases.MASKS.bias })
  contract(on_device, { "ring", directions = 2 }, few(causal))
  contract(on_device, "mesh2d", few(causal))
  contract(on_device, "heads", few(causal))
end)
