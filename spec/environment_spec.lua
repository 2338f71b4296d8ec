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

  it("of those that are checked is listed by --help", function()
    local usage = require("mosaic.host.options").usage
    for _, name in ipairs(require("mosaic.environment").names()) do
      assert(usage:find(name .. "%f[^%u%d_]"), name .. " is not in --help")
    end
  end)

  it("that asks for other kernels leaves the state of AMX tiles alone", function()
    local script = program.script [[
      local ffi = require "ffi"
      ffi.cdef "long syscall(long number, ...);"
      local permitted = ffi.new "uint64_t[1]"
      mosaic.ones { 128, 128 }:matmul(mosaic.ones { 128, 128 })
      local asked = ffi.C.syscall(158, ffi.cast("long", 0x1022), permitted) == 0 -- ARCH_GET_XCOMP_PERM
      print(asked and permitted[0] / 2 ^ 18 % 2 >= 1)]]
    local function tiles(isa)
      return program("-e 'dofile \"" .. script .. "\"'", { env = "MOSAIC_ISA=" .. isa }).out
    end
    if require("ffi").arch == "x64" then
      for _, isa in ipairs { "scalar", "avx2", "avx512" } do assert.equal("false\n", tiles(isa)) end
      local amx = program("-e 'print(mosaic.isa())'", { env = "MOSAIC_ISA=amx" }).out == "amx\n"
      assert.equal(tostring(amx) .. "\n", tiles "amx")
    end
    os.remove(script)
  end)

  it("may be empty, or say what it can", function()
    local env = "MOSAIC_TF32= MOSAIC_ISA=scalar MOSAIC_THREADS=3 MOSAIC_TIMEOUT=0.5"
    assert.equal("scalar\t3\n", program("-e 'print(mosaic.isa(), mosaic.threads())'", { env = env }).out)
  end)
end)
