local mosaic = require "mosaic"
local device = require "spec.support.device"
local program = require "spec.support.program"
local refused = require("spec.support.comm_operands").refused
local worlds = require "spec.support.worlds"

describe("virtual ranks with tensors on a device", function()
  for _, case in ipairs(require "spec.support.comm_devices") do
    it(case[1], function() worlds(case[2], { 1, 2, 3, 5 }) end)
  end
end)

describe("operands on different devices are refused:", function()
  it("those of one rank", function()
    local here = mosaic.device_name(device.name)
    mosaic.virtual(2, function(comm)
      local other = 1 - comm.rank
      local says = "sendrecv: operands on different devices: f32 [2] on cpu, f32 [2] on " .. here
      refused(says, function()
        comm:sendrecv(mosaic.ones { 2, device = "cpu" }, other, other, nil, { device = here })
      end)
    end)
  end)

  it("those of two ranks", function()
    mosaic.virtual(2, function(comm)
      local mine = comm.rank == 0 and "cpu" or device.name
      local names = { [0] = "cpu", (device.name:gsub(":.*", "")) }
      local x, other = mosaic.ones { 4, device = mine }, 1 - comm.rank
      local says = "rank %d sent all_reduce f32 [4] sum on %s (16 bytes), "
        .. "rank %d expects all_reduce f32 [4] sum on %s"
      refused(says:format(other, names[other], comm.rank, names[comm.rank]),
        function() comm:all_reduce(x) end)
    end)
  end)

  it("two devices of one process", function()
    device.emulated_only "how many there are is its setting"
    local path = program.script [[
      local m = require "mosaic"
      m.virtual(2, function(comm)
        comm:all_reduce(m.ones { 2, device = "cuda:" .. comm.rank })
      end)]]
    local result = program(path, { env = "MOSAIC_EMULATED_DEVICES=2" })
    os.remove(path)
    local says = "virtual ranks share one device: rank 0 sent f32 [2] on cuda:0, "
      .. "rank 1 receives f32 [2] on cuda:1"
    assert(result.err:find(says, 1, true), result.err)
    assert.equal(1, result.status)
  end)
end)
