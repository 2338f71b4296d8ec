--- Ranks of two machines: network namespaces on a slow link, MPI over TCP (scripts/slow-link).
local program = require "spec.support.program"

local SPECS = { "comm", "exchange", "masks", "poll", "strategies" } -- of spec/mpi
local SKIPPED = 77

describe("two machines on a link of 0.5 Gbit/s", function()
  it("pass the specs of MPI ranks", function()
    local paths = {}
    for i, name in ipairs(SPECS) do paths[i] = ("spec/mpi/%s_spec.lua"):format(name) end
    local environment = "env -u MOSAIC_RESULTS -u MOSAIC_DEVICE MOSAIC_TIMEOUT=60"
    local result = program.shell(("%s scripts/slow-link 0.5 %s scripts/busted.lua %s"):format(
      environment, program.path, table.concat(paths, " ")))
    if result.status == SKIPPED then return pending(result.err) end
    local ranks = 0
    for passed, failed in result.out:gmatch "(%d+) passed, (%d+) failed" do
      assert(tonumber(passed) > 50 and failed == "0", result.out)
      ranks = ranks + 1
    end
    assert(ranks == 2 and result.status == 0, result.out .. result.err)
  end)
end)
