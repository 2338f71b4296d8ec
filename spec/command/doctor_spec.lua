local program = require "spec.support.program"

describe("mosaic-lua doctor", function()
  it("says what the job runs on, and which ranks share a node", function()
    local env = "MOSAIC_NODE_SIZE=2 MOSAIC_ISA=scalar MOSAIC_THREADS=1"
    local result = program("--virtual 4 doctor", { env = env })
    assert.equal(0, result.status)
    assert.truthy(result.out:find "version   %d")
    assert.truthy(result.out:find("kernels   scalar\nthreads   1\nranks     4 (virtual)\n", 1, true))
    assert.truthy(result.out:find("nodes     {0, 1} {2, 3}\nprobed    {0, ", 1, true))
    assert.equal("", result.err)
  end)

  it("explains itself", function()
    assert.truthy(program("doctor --help").out:find("usage: mosaic-lua [-n P] doctor", 1, true))
    local result = program "doctor --all"
    assert.equal(2, result.status)
    assert.truthy(result.err:find("unknown option '--all'", 1, true))
  end)
end)
