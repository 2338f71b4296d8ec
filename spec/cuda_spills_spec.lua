local program = require "spec.support.program"

local LOG = [[
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z5heavyPf' for 'sm_80'
ptxas info    : Function properties for _Z5heavyPf
    %d bytes stack frame, %d bytes spill stores, %d bytes spill loads
ptxas info    : Used 24 registers, used 1 barriers, 2048 bytes smem, 360 bytes cmem[0]
]]

describe("scripts/cuda-spills", function()
  local folder

  before_each(function()
    folder = program.shell("mktemp -d").out:match "%S+"
    program.shell(("mkdir %s/attention"):format(folder))
  end)

  after_each(function() program.shell("rm -r " .. folder) end)

  local function log(name, stack, stores, loads)
    local file = assert(io.open(("%s/%s.cu.log"):format(folder, name), "w"))
    file:write(LOG:format(stack, stores, loads))
    file:close()
  end

  it("fails on a spill of an attention kernel", function()
    log("attention/heavy", 56, 16, 8)
    local result = program.shell("scripts/cuda-spills " .. folder)
    assert.equal(1, result.status)
    assert.equal("sm_80     24 registers   2048 shared    56 stack    24 spilled  heavy  FAILED\n"
      .. "0 passed, 1 failed\n", result.out)
  end)

  it("allows others, and a stack", function()
    log("copy", 16, 16, 16)
    log("attention/light", 56, 0, 0)
    local result = program.shell("scripts/cuda-spills " .. folder)
    assert.equal(0, result.status)
    assert.matches("1 passed, 0 failed\n$", result.out)
  end)

  it("passes on what else the compiler says", function()
    log("copy", 0, 0, 0)
    program.shell(("echo 'copy.cu(3): warning #177-D: unused' >>%s/copy.cu.log"):format(folder))
    local result = program.shell(("scripts/cuda-spills --others %s/copy.cu.log"):format(folder))
    assert.equal("copy.cu(3): warning #177-D: unused\n", result.out)
  end)

  it("makes a table of the kernels that are compiled ahead", function()
    program.shell(("mkdir %s/attention/variants"):format(folder))
    log("attention/variants/heavy-24-2", 56, 16, 8)
    local result = program.shell("scripts/cuda-spills --markdown " .. folder)
    assert.matches("\n| heavy%-24%-2 | `heavy` | 24 %(24 spilled%) | %- | %- |\n$", result.out)
  end)
end)
