--- Environment variables are refused at the start, with name, value and what is allowed.
local program = require "spec.support.program"

describe("an environment variable", function()
  local function says(environment, text)
    local result = program("-e 'print(1)'", { env = environment })
    assert.same({ 2, "", "mosaic-lua: " .. text .. "\n" }, { result.status, result.out, result.err })
  end

  it("that says what it cannot is refused at the start", function()
    says("MOSAIC_ISA=avx1024", "MOSAIC_ISA must be one of scalar, avx2, avx512, amx, neon, got 'avx1024'")
    for _, value in ipairs { "nonsense", "0", "-1", "9999" } do
      says("MOSAIC_THREADS=" .. value,
        "MOSAIC_THREADS must be an integer from 1 to 256, got '" .. value .. "'")
    end
    for _, value in ipairs { "nonsense", "0", "-4", "nan" } do
      says("MOSAIC_TIMEOUT=" .. value,
        "MOSAIC_TIMEOUT must be a positive number of seconds, got '" .. value .. "'")
    end
    says("MOSAIC_TF32=yes", "MOSAIC_TF32 must be one of 0, 1, got 'yes'")
    says("MOSAIC_ATTENTION=x",
      "MOSAIC_ATTENTION must be one of auto, mosaic, small, hopper, tensor, plain, got 'x'")
    says("MOSAIC_SHARE=some", "MOSAIC_SHARE must be one of auto, all, copies, off, got 'some'")
    for _, value in ipairs { "10", "10:0", ":1", "1:", "a:b", "-1:1", "1.2.3:1" } do
      says("MOSAIC_PACE=" .. value, "MOSAIC_PACE must be latency:bandwidth in microseconds and Gbit/s, such "
        .. "as 20:10, got '" .. value .. "'")
    end
    says("MOSAIC_MEMORY_LIMIT=1e9", "MOSAIC_MEMORY_LIMIT must be an integer of at least 1, got '1e9'")
  end)

  it("is refused where another program loads the module", function()
    local path = program.script [[
      package.loaded["mosaic.environment"] = { problem = function() return "NAME must be 1, got '2'" end }
      package.loaded.mosaic = nil
      print(select(2, pcall(require, "mosaic")))]]
    assert.matches("NAME must be 1, got '2'", program(path).out)
    os.remove(path)
  end)

  it("may be empty, or say what it can", function()
    local env = "MOSAIC_TF32= MOSAIC_ISA=scalar MOSAIC_THREADS=3 MOSAIC_TIMEOUT=0.5"
    assert.equal("scalar\t3\n", program("-e 'print(mosaic.isa(), mosaic.threads())'", { env = env }).out)
  end)
end)
