local device = require "spec.support.device"
local program = require "spec.support.program"

--- The programs that make builds beside the emulated plug-in.
local function agrees(name)
  local path = os.getenv("MOSAIC_CUDA_LIB"):match "^(.*/)" .. name
  local result = program.shell(path)
  assert.equal("ok\n", result.out)
  assert.equal("", result.err)
end

describe("tensor-core instructions", function()
  it("give what plain loops give: products, fragments, copies, conversions", function()
    device.emulated_only "on a GPU nvcc builds spec/cuda/mma.cu"
    agrees "mma"
  end)

  it("give what plain loops give: products of warpgroups, tiles, barriers", function()
    device.emulated_only "on a GPU of compute capability 9.0 nvcc builds spec/cuda/hopper.cu"
    agrees "hopper"
  end)
end)
