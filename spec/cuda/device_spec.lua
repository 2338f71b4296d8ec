local mosaic = require "mosaic"
local close = require "spec.support.close"
local device = require "spec.support.device"
local fails = require "spec.support.fails"
local program = require "spec.support.program"

local DTYPES = { "f32", "f64", "bf16", "f16", "i32", "i64", "u8" }

--- What mosaic-lua says to a script, with a setting of the emulated runtime.
local function run(env, chunk)
  local path = program.script(chunk)
  local result = program(path, { env = env })
  os.remove(path)
  return result
end

describe("tensors on a device", function()
  it("know where they are", function()
    local x = mosaic.zeros { 2, 3, device = device.name }
    assert.equal(mosaic.device_name(device.name), x.device)
    assert.equal(x.device, x:t().device)
    assert.truthy(tostring(x):find("f32 [2,3] on " .. x.device, 1, true))
  end)

  for _, dtype in ipairs(DTYPES) do
    it("travel there and back: " .. dtype, function()
      local x = mosaic.tensor({ { 1, 2, 3 }, { 4, 5, 6 } }, { dtype = dtype, device = "cpu" })
      local there = x:to { device = device.name }
      close(there, x)
      close(there:to { device = "cpu" }, x)
      close(there:t(), x:t())
      close(there:t():to { device = "cpu" }, x:t())
    end)
  end

  it("are read and written one by one", function()
    local x = mosaic.zeros { 2, 3, device = device.name }
    x:set(2, 3, 7)
    x:set(-2, 1, 5)
    assert.equal(7, x:get(2, 3))
    close(x, { { 5, 0, 0 }, { 0, 0, 7 } })
    close(x:select(2, 3), { 0, 7 })
  end)

  it("are larger than what travels in one piece", function()
    local x = mosaic.arange(1, 3000000, { dtype = "i32", device = "cpu" })
    local there = x:to { device = device.name }
    assert.equal(2999999, there:get(2999999))
    assert.is_true((there:to { device = "cpu" }):eq(x):all():item() == 1)
  end)

  it("have copies on the CPU that outlive the scope in which they were made", function()
    local ids = mosaic.tensor({ 1, 1, 2, 2 }, { dtype = "i64", device = device.name })
    mosaic.virtual(2, function(comm)
      local x = mosaic.ones { 1, 1, 4, 2, device = device.name }
      local function attend()
        return (mosaic.attend(x, x, x, { comm = comm, strategy = "ring", mask = { documents = ids } }))
      end
      for _ = 1, 2 do close(mosaic.scope(attend), x) end
    end)
  end)

  it("are many that travel one after the other", function()
    local list = {}
    for i = 1, 60 do
      list[i] = mosaic.full({ 20000 + i }, i, { dtype = "f64", device = "cpu" }):to { device = device.name }
    end
    for i, x in ipairs(list) do
      assert.same({ i, i, (20000 + i) * i }, { x:get(1), x:get(-1), x:sum():item() })
    end
  end)

  it("do not mix with others'", function()
    device.emulated_only "on the CPU there is one device"
    local x, y = mosaic.ones { 2, device = device.name }, mosaic.ones { 2, device = "cpu" }
    fails(("add: operands on different devices: f32 [2] on %s, f32 [2] on cpu"):format(x.device),
      function() return x + y end)
  end)

  it("are copied across", function()
    local x = mosaic.tensor({ { 1, 2 }, { 3, 4 } }, { device = "cpu" })
    local there = mosaic.zeros { 2, 2, device = device.name }
    there:copy_(x:t())
    close(there, { { 1, 3 }, { 2, 4 } })
    there:select(1, 2):copy_(mosaic.tensor({ 7 }, { dtype = "i64", device = "cpu" }))
    close(x:copy_(there), { { 1, 3 }, { 7, 7 } })
    assert.equal("cpu", x.device)
  end)

  it("go where :cuda() and :cpu() say", function()
    device.emulated_only "the CPU is no GPU"
    local x = mosaic.ones { 2, device = "cpu" }
    local there = x:cuda()
    assert.equal("cuda:0", there.device)
    assert.equal(there, there:cuda(0))
    assert.equal(there, there:to { device = "cuda" })
    assert.equal("cpu", there:cpu().device)
    local layer = mosaic.nn.Linear { in_features = 2, out_features = 3, device = "cpu" }
    assert.equal("cuda:0", layer:cuda().weight.device)
    assert.equal("cpu", layer:cpu().weight.device)
  end)

  it("are counted on their device", function()
    mosaic.collect()
    local before = mosaic.memory(device.name).live_bytes
    local x = mosaic.zeros { 1000, device = device.name }
    assert.equal(before + 4000, mosaic.memory(device.name).live_bytes)
    x:free()
    assert.equal(before, mosaic.memory(device.name).live_bytes)
  end)
end)

describe("a device that", function()
  it("does not exist is an error that says how many there are", function()
    device.emulated_only "how many there are is its setting"
    fails("device cuda:7 does not exist: this machine has 1, cuda:0 to cuda:0",
      function() mosaic.zeros { 2, device = "cuda:7" } end)
    local result = run("MOSAIC_EMULATED_DEVICES=2", [[
      local m = require "mosaic"
      print(m.zeros{1, device = "cuda:1"}.device)
      m.zeros{1, device = "cuda:2"}]])
    local says = "device cuda:2 does not exist: this machine has 2, cuda:0 to cuda:1"
    assert.equal("cuda:1\n", result.out)
    assert.truthy(result.err:find(says, 1, true))
    assert.equal(1, result.status)
  end)

  for driver, says in pairs {
    none = "device cuda: no NVIDIA driver on this machine",
    old = "device cuda: the NVIDIA driver is too old: it knows CUDA 10.2, Mosaic was built with 13.0",
    empty = "device cuda: the driver finds no GPU (CUDA_VISIBLE_DEVICES may hide them)",
  } do
    it("cannot be used says why: driver " .. driver, function()
      device.emulated_only "the driver is its setting"
      local result = run("MOSAIC_EMULATED_DRIVER=" .. driver, [[
        local m = require "mosaic"
        print(m.ones{2}:sum():item())
        m.zeros{2, device = "cuda"}]])
      assert.equal("2\n", result.out)
      assert.truthy(result.err:find(":3: zeros: " .. says, 1, true))
      assert.equal(1, result.status)
    end)
  end

  it("has no memory left says what was asked, in use and free", function()
    device.emulated_only "how much it has is its setting"
    local result = run("MOSAIC_EMULATED_MEMORY=1000000", [[
      local m = require "mosaic"
      local kept = m.zeros{50000, device = "cuda"}
      local more = m.zeros{250000, device = "cuda"}]])
    local says = ":3: out of memory on cuda:0: asked for 1000000 bytes, 200000 in use"
    assert.truthy(result.err:find(says, 1, true))
    assert.truthy(result.err:find("%d+ free\n"))
    assert.equal(1, result.status)
  end)

  it("is full of what nobody needs any more is emptied first", function()
    device.emulated_only "how much it has is its setting"
    local result = run("MOSAIC_EMULATED_MEMORY=1000000", [[
      local m = require "mosaic"
      for i = 1, 20 do m.zeros{50000 + 1000 * i, device = "cuda"} end
      print(m.memory("cuda").free_bytes < 1000000)]])
    assert.same({ "true\n", 0 }, { result.out, result.status }, result.err)
  end)

  it("is lost in the middle is an error", function()
    device.emulated_only "its end is its setting"
    local result = run("MOSAIC_EMULATED_LOST=3", [[
      local x = require "mosaic".ones{4, device = "cuda"}
      for i = 1, 10 do x = x + 1 end
      print(x)]])
    assert.truthy(result.err:find("cuda:0 failed", 1, true))
    assert.equal("", result.out)
    assert.equal(1, result.status)
  end)

  for setting, says in pairs {
    ["LOST=12"] = "cuda:0 failed: an illegal memory access",
    ["MEMORY=100000000"] = "out of memory on cuda:0: asked for 120000000 bytes",
  } do
    it("fails on one rank ends the others: " .. setting, function()
      device.emulated_only "its end is its setting"
      local path = program.script(([[
        local ffi = require "ffi"
        ffi.cdef "int setenv(const char *name, const char *value, int change);"
        local name, value = ("%s"):match "(.*)=(.*)"
        local rank = os.getenv "OMPI_COMM_WORLD_RANK"
        if rank == "1" then ffi.C.setenv("MOSAIC_EMULATED_" .. name, value, 1) end
        local m = require "mosaic"
        local comm, x = m.comm.world(), m.ones { 4, device = "cuda" }
        for i = 1, 10 do x = comm:all_reduce(x / 2) end
        m.empty { 3e7, device = "cuda" }:free()
        comm:all_reduce(x)]]):format(setting))
      local result = program("-n 2 " .. path)
      assert.truthy(result.err:find("[rank 1/2", 1, true))
      assert.truthy(result.err:find(says, 1, true), result.err)
      assert.is_nil(result.err:find("[rank 0/2", 1, true))
      assert.equal(1, result.status)
      os.remove(path)
    end)
  end
end)

describe("the default device", function()
  it("is used by scripts that name none", function()
    device.emulated_only "the device is its setting"
    local path = program.script [[
      local m = require "mosaic"
      print(m.default_device(), m.zeros{1}.device, m.tensor{1, 2}:to("f64").device)]]
    for _, way in ipairs {
      { "--device cuda " }, { "--virtual 1 --device cuda " }, { "", "MOSAIC_DEVICE=cuda" },
      { "--device cuda ", "MOSAIC_DEVICE=cpu" },
    } do
      assert.equal("cuda:0\tcuda:0\tcuda:0\n", program(way[1] .. path, { env = way[2] }).out)
    end
    os.remove(path)
  end)

  it("is each process's own", function()
    device.emulated_only "how many there are is its setting"
    local chunk = "-e 'print(mosaic.comm.world().rank, mosaic.default_device())'"
    local result = program("-n 3 --device cuda " .. chunk, { env = "MOSAIC_EMULATED_DEVICES=2" })
    for _, line in ipairs { "0\tcuda:0\n", "1\tcuda:1\n", "2\tcuda:0\n" } do
      assert.truthy(result.out:find(line, 1, true), result.out .. result.err)
    end
    result = program("-n 2 --device cuda:1 " .. chunk, { env = "MOSAIC_EMULATED_DEVICES=2" })
    assert.truthy(result.out:find("0\tcuda:1\n", 1, true) and result.out:find("1\tcuda:1\n", 1, true))
  end)

  it("that cannot be used ends the program before anything runs", function()
    device.emulated_only "the driver is its setting"
    local result = program("--device cuda -e 'print(1)'", { env = "MOSAIC_EMULATED_DRIVER=none" })
    assert.same({ "", 2 }, { result.out, result.status })
    assert.equal("mosaic-lua: --device: device cuda: no NVIDIA driver on this machine\n", result.err)
    result = program("--device cuda:4 -e 'print(1)'")
    assert.same({ "", 2 }, { result.out, result.status })
    assert.truthy(result.err:find("device cuda:4 does not exist: this machine has 1", 1, true))
  end)

  it("is what doctor describes", function()
    device.emulated_only "the device is its setting"
    local result = program("-n 2 --device cuda doctor", { env = "MOSAIC_EMULATED_DEVICES=2" })
    local tail = ": emulated device, 1.0 GiB, compute capability 8.0, 4 multiprocessors, "
      .. "driver for CUDA 13.0\n"
    for i = 0, 1 do
      assert.truthy(result.out:find(("device    {%d} cuda:%d"):format(i, i) .. tail, 1, true), result.out)
      assert.truthy(result.out:find(("gpus      cuda:%d"):format(i) .. tail, 1, true))
    end
    result = program("doctor", { env = "MOSAIC_EMULATED_DRIVER=empty" })
    assert.truthy(result.out:find("gpus      none: device cuda: the driver finds no GPU", 1, true))
  end)
end)
