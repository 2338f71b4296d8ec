--- Kernels for functions of masks: compiled when they are asked for, and kept on disk.
local device = require "spec.support.device"
local program = require "spec.support.program"

local ASK = [[
  local mosaic = require "mosaic"
  local q = mosaic.ones { 1, 1, 3, 2, device = "cuda" }
  local before = { keep = function(_, _, i, j) return j < i end }
  local _, lse = mosaic.sdpa(q, q, q, { scale = 0, mask = before })
  print(lse:flat()[1], math.exp(lse:flat()[3]))
]]
local ANSWER = "-inf\t2\n"

local function shell(command) return (program.shell(command).out:gsub("\n$", "")) end

--- Asks in a new process; its answer, and the files that are in the folder after it.
local function ask(folder)
  local script = program.script(ASK)
  local ran = program(script, { env = "MOSAIC_CACHE=" .. folder })
  os.remove(script)
  assert.equal("", ran.err)
  return ran.out, shell("ls " .. folder)
end

--- Changes when the file is written again.
local function stamp(path) return shell("stat -c '%i %y' " .. path) end

describe("kernels that are compiled when they are asked for", function()
  local folder

  before_each(function() folder = shell "mktemp -d" end)
  after_each(function() shell("rm -rf " .. folder) end)

  it("are found on disk by the next process", function()
    device.emulated_only "compiles"
    local new = folder .. "/new/one"
    local answer, files = ask(new)
    assert.equal(ANSWER, answer)
    assert.truthy(files:find "^%x+%.variant$")
    local before = stamp(new .. "/" .. files)
    assert.equal(ANSWER, (ask(new)))
    assert.equal(before, stamp(new .. "/" .. files))
  end)

  it("are compiled again where the file is spoilt", function()
    device.emulated_only "compiles"
    local _, files = ask(folder)
    local path = folder .. "/" .. files
    for _, spoil in ipairs { "truncate -s 1000 %s", "truncate -s 0 %s", "printf x >> %s",
      "printf xyz | dd of=%s bs=1 seek=5000 conv=notrunc" } do
      local before = stamp(path)
      shell((spoil:gsub("%%s", path)))
      assert.equal(ANSWER, (ask(folder)))
      local after = stamp(path)
      assert.are_not.equal(before, after, spoil)
      assert.equal(ANSWER, (ask(folder)))
      assert.equal(after, stamp(path), spoil)
    end
  end)

  it("do without a folder", function()
    device.emulated_only "compiles"
    assert.equal(ANSWER, (ask "/proc/nowhere"))
    assert.equal(ANSWER, (ask "''"))
  end)

  it("say what is missing where they cannot be compiled", function()
    local path = program.path:gsub("mosaic%-lua$", "libmosaic_cuda.so")
    if shell("ls " .. path) == "" then return pending "there is no plug-in for GPUs" end
    local ran = program("scripts/cuda-variants.lua sm_90a",
      { env = "-u MOSAIC_CUDA_LIB MOSAIC_NVRTC_LIB=/nowhere.so" })
    local text = "attention: a kernel for mask.score (plain_forward.cu, HEAD 64, sm_90a) has to be compiled, "
      .. "but CUDA's run-time compiler libnvrtc.so.13 (or .12; MOSAIC_NVRTC_LIB names another file) is not "
      .. "there: /nowhere.so: cannot open"
    assert.truthy(ran.out:find(text, 1, true), ran.out .. ran.err)
  end)

  it("say that the compiler is older than the GPU", function()
    local path = program.path:gsub("mosaic%-lua$", "libmosaic_cuda.so")
    if shell("ls " .. path) == "" then return pending "there is no plug-in for GPUs" end
    local ran = program("scripts/cuda-variants.lua sm_999",
      { env = "-u MOSAIC_CUDA_LIB -u MOSAIC_NVRTC_LIB" })
    if ran.out:find("is not there", 1, true) then return pending "there is no libnvrtc" end
    local text = "this head size %(forward.cu, HEAD 40, sm_999%) has to be compiled, but CUDA's "
      .. "run%-time compiler libnvrtc is here as 1%d%.%d, too old for sm_999\n"
    assert.truthy(ran.out:find(text), ran.out .. ran.err)
  end)

  it("are not asked for where the compiler is older than the GPU", function()
    device.emulated_only "has a compiler that can be too old"
    local function attend(path)
      local env = "MOSAIC_EMULATED_COMPILER=none MOSAIC_ATTENTION=" .. path
      local script = program.script [[
        local mosaic = require "mosaic"
        local q = mosaic.ones { 1, 1, 3, 2, device = "cuda" }
        print(mosaic.sdpa(q, q, q):flat()[1])
      ]]
      local ran = program(script, { env = env })
      os.remove(script)
      return ran
    end
    assert.equal("1\n", attend("auto").out)
    local text = "attention: MOSAIC_ATTENTION=tensor cannot do this forward"
    assert.truthy(attend("tensor").err:find(text, 1, true))
  end)

  it("are not compiled for a few short axes", function()
    device.emulated_only "compiles"
    local script = program.script [[
      local mosaic = require "mosaic"
      local q = mosaic.ones { 1024, 1, 2, 4, device = "cuda" }
      print(mosaic.sdpa(q, q, q):flat()[1])
    ]]
    local ran = program(script, { env = "MOSAIC_CACHE=" .. folder })
    os.remove(script)
    assert.equal("1\n", ran.out)
    assert.equal("", shell("ls " .. folder))
  end)
end)
