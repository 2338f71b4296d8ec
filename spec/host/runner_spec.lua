local program = require "spec.support.program"

--- What scripts/run-specs.lua says about a spec file with this text.
local function judge(text, options, environment)
  local name = os.tmpname()
  os.remove(name)
  local path = name .. "_spec.lua"
  os.rename(program.script(text), path)
  local result = program(("scripts/run-specs.lua %s %s"):format(options or "", path), { env = environment })
  os.remove(path)
  result.last = result.out:match "([^\n]*)\n$"
  return result
end

describe("the test runner", function()
  it("counts passes", function()
    local result = judge "it('a', function() assert.equal(1, 1) end) it('b', function() end)"
    assert.same({ 0, "2 passed, 0 failed" }, { result.status, result.last })
  end)

  it("shows a failure with its values and its line", function()
    local result = judge "it('a', function() end)\n\nit('adds', function() assert.equal(5, 2 + 2) end)"
    assert.same({ 1, "1 passed, 1 failed" }, { result.status, result.last })
    assert.matches("FAILED adds\n[^\n]*_spec%.lua:3: Expected objects to be equal.*4.*5", result.out)
  end)

  it("counts an error outside a test as a failure", function()
    assert.equal("0 passed, 1 failed", judge("local x = nil; x.y = 1").last)
    assert.equal("0 passed, 1 failed", judge("it('a', function( end").last)
    assert.equal("0 passed, 1 failed",
      judge("before_each(function() error 'x' end) it('a', function() end)").last)
  end)

  it("does not believe a run that stops itself", function()
    local result = judge "it('a', function() end) it('b', function() os.exit(0) end) it('c', function() end)"
    assert.same({ 1, "1 passed, 1 failed" }, { result.status, result.last })
    assert.matches("ended before its summary, status 0", result.out)
  end)

  it("fails when nothing ran", function()
    assert.same({ 1, "0 passed, 0 failed" }, { judge("").status, judge("").last })
  end)

  it("says which rank fails", function()
    local result = judge("local rank = os.getenv 'OMPI_COMM_WORLD_RANK'\n"
      .. "it('a', function() assert.equal('0', rank) end) it('b', function() end)", "--ranks 2")
    assert.same({ 1, "1 passed, 1 failed" }, { result.status, result.last })
    assert.matches("FAILED a\n +fails on rank 1 of 2: .*_spec%.lua:2: ", result.out)
  end)

  it("fails when one rank never gets there", function()
    local result = judge("local rank = os.getenv 'OMPI_COMM_WORLD_RANK'\n"
      .. "it('a', function() if rank == '1' then os.exit(0) end end)", "--ranks 2")
    assert.equal(1, result.status)
    assert.matches("fails on rank 1 of 2: no result", result.out)
  end)

  it("runs files alone, with a device, too", function()
    local result = judge("it('a', function() assert.equal('cpu', os.getenv 'MOSAIC_DEVICE') end)", "--cuda",
      "MOSAIC_TEST_DEVICE=cpu")
    assert.same({ 0, "1 passed, 0 failed" }, { result.status, result.last })
    local files = "spec/cuda/attention_hopper_spec.lua spec/cuda_mpi/none_spec.lua"
    result = program("scripts/run-specs.lua --cuda " .. files,
      { env = "MOSAIC_TEST_DEVICE=cpu MOSAIC_CUDA_LIB=/emulated.so" })
    for _, leg in ipairs { "cpu, capability 9.0", "2 ranks" } do
      assert.truthy(result.out:find("== " .. leg .. "\n", 1, true), result.out)
    end
  end)

  it("refuses what it does not know", function()
    for options, why in pairs {
      ["--emulated"] = "there is no option --emulated: expected --cuda, --sanitize or --ranks P",
      ["--ranks spec"] = "--ranks wants a number", ["--ranks 2"] = "--ranks wants spec files or folders",
      ["--cuda --ranks 2 spec/trace_spec.lua"] = "--cuda runs spec/trace_spec.lua on one rank, not on 2",
    } do
      local result = program("scripts/run-specs.lua " .. options)
      assert.same({ 2, "run-specs: " .. why .. "\n" }, { result.status, result.err })
    end
  end)
end)
