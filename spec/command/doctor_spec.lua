local program = require "spec.support.program"

describe("mosaic-lua doctor", function()
  it("says what the job runs on, and which ranks share a node", function()
    local env = "MOSAIC_NODE_SIZE=2 MOSAIC_ISA=scalar MOSAIC_THREADS=1"
    local result = program("--virtual 4 doctor", { env = env })
    assert.equal(0, result.status)
    assert.truthy(result.out:find "version   %d")
    assert.truthy(result.out:find("kernels   scalar\nthreads   1\ndevice    {0, 1, 2, 3} c", 1, true))
    assert.truthy(result.out:find "\ngpus      [^\n]+\nranks     4 %(in one process%)\n")
    local how = "ranks that share a node, by MOSAIC_NODE_SIZE"
    assert.truthy(result.out:find("nodes     {0, 1} {2, 3} (" .. how .. ")\nprobed    {0, ", 1, true))
    assert.equal("", result.err)
  end)

  it("explains itself", function()
    local usage = "usage: mosaic-lua [-n P] [--device NAME] doctor"
    assert.truthy(program("doctor --help").out:find(usage, 1, true))
    local result = program "doctor --all"
    assert.equal(2, result.status)
    assert.truthy(result.err:find("unknown option '--all'", 1, true))
    assert.truthy(program("doctor all").err:find("doctor takes no arguments, got 'all'", 1, true))
  end)
end)
