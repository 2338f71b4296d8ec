--- scripts/gpu-check itself, with a program in mosaic-lua's place that ends in every way there is.
local program = require "spec.support.program"

local FAKE = [[
#!/bin/sh
case "$*" in
*" -e "*) [ -z "$NO_GPU" ] || { echo "no GPU"; exit 1; } ;;
*doctor*) echo "a device" ;;
*run-specs.lua*--cuda*) echo "5 passed, 0 failed" ;;
*--ranks*2*) echo "2 passed, 1 failed"; exit 1 ;;
*--ranks*4*) echo "no mpirun"; exit 127 ;;
*reference.lua*--device*cuda) echo "9 within bounds, 0 failed" ;;
*train.lua*) echo "step 1"; timeout 70 sleep "$LONG" ;;
*gpu/main.lua*) echo "3 goals met, 1 missed or not measured" ;;
*) echo "unexpected: $*"; exit 3 ;;
esac
]]

describe("scripts/gpu-check", function()
  local folder, number -- of a process: nobody else sleeps for that long

  setup(function()
    number = program.shell("echo $$").out:match "%d+"
    folder = program.shell("mktemp -d").out:match "%S+"
    local file = assert(io.open(folder .. "/mosaic-lua", "w"))
    file:write(FAKE)
    file:close()
    program.shell(("chmod +x %s/mosaic-lua"):format(folder))
  end)

  teardown(function() program.shell("rm -r " .. folder) end)

  local function check(options)
    local environment = ("env MOSAIC_BUILD=%s MOSAIC_CUDA_LIB=emulated LONG=61.%s"):format(folder, number)
    return program.shell(("%s scripts/gpu-check --out %s/out %s"):format(environment, folder, options))
  end

  it("counts the tests of its parts, whatever fails, and stops what takes too long", function()
    local result = check("--minutes 0.25 --only specs --only ranks2 --only ranks4 --only reference "
      .. "--only train")
    assert.equal(1, result.status)
    assert.matches("\nspecs +5 passed +0 failed ", result.out)
    assert.matches("\nranks2 +2 passed +1 failed .-status 1: 2 passed, 1 failed", result.out)
    assert.matches("\nranks4 +0 passed +1 failed .-status 127: no mpirun", result.out)
    assert.matches("\nreference +9 passed +0 failed ", result.out)
    assert.matches("\ntrain +0 passed +1 failed .-time limit: step 1", result.out)
    assert.matches("\n16 passed, 3 failed\n$", result.out)
    local left = ("grep -la '6[1][.]%s' /proc/[0-9]*/cmdline 2>/dev/null"):format(number)
    assert.equal("", program.shell(left).out)
  end)

  it("does not start what there is no time for, and keeps logs", function()
    local result = check "--minutes 0 --only bench"
    assert.matches("\nbench +0 passed +1 failed +%d+ s +time limit: no time was left\n0 passed, 1 failed\n$",
      result.out)
    local log = program.shell(("cat %s/out/gpu-check.log %s/out/summary.txt"):format(folder, folder)).out
    assert.matches("=== machine\n.-a device\n.-=== bench\nno time was left\n.-0 passed, 1 failed\n$", log)
  end)

  it("passes when all parts do", function()
    local result = check "--only bench --only specs"
    assert.equal(0, result.status)
    assert.matches("\n6 passed, 0 failed\n$", result.out)
  end)

  it("says what it skips", function()
    local result = check "--only memcheck --only warp"
    assert.equal(0, result.status)
    assert.matches("\nmemcheck +0 passed +0 failed +%d+ s +skipped: the device is emulated\n", result.out)
    assert.matches("\n2 parts were skipped\n0 passed, 0 failed\n$", result.out)
  end)

  it("does nothing without a GPU", function()
    local result = program.shell(("env NO_GPU=1 MOSAIC_BUILD=%s scripts/gpu-check --out %s/out"):format(
      folder, folder))
    assert.same({ 1, "", "gpu-check: no GPU\n" }, { result.status, result.out, result.err })
  end)

  it("refuses what it does not know", function()
    local result = check "--quick"
    assert.equal(2, result.status)
    assert.equal("gpu-check: unknown option '--quick' (scripts/gpu-check --help lists them)\n", result.err)
    assert.equal(0, check("--help").status)
    local build = program.path:match "^(.*)/mosaic%-lua$"
    result = program.shell(("MOSAIC_BUILD=%s scripts/gpu-bench --quick"):format(build)) -- without a GPU, too
    assert.matches("unknown option '%-%-quick'", result.err)
  end)
end)
