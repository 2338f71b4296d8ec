local mosaic = require "mosaic"
local fails = require "spec.support.fails"
local program = require "spec.support.program"

describe("the default device", function()
  local before = mosaic.default_device()
  after_each(function() mosaic.set_default_device(before) end)

  it("is where tensors are made that name none", function()
    local path = os.tmpname()
    mosaic.save(path, { x = mosaic.ones { 2 } })
    local made = {
      mosaic.zeros { 2 }, mosaic.tensor { 1, 2 }, mosaic.arange(1, 3), mosaic.randn { 2 },
      mosaic.randperm(3), mosaic.load(path).x, mosaic.nn.Linear { in_features = 2, out_features = 3 }.weight,
      mosaic.KVCache { kv_heads = 1, head_size = 4 }.store.tensors.k,
    }
    os.remove(path)
    for i, x in ipairs(made) do assert.equal(before, x.device, "tensor " .. i) end
  end)

  it("is chosen by name, and given in full", function()
    assert.equal("cpu", mosaic.set_default_device "cpu")
    assert.equal("cpu", mosaic.default_device())
    assert.equal("cpu", mosaic.zeros({ 1 }).device)
  end)

  it("is each virtual rank's own, at first that of who made the ranks", function()
    local seen = mosaic.virtual(2, function(comm)
      local first = mosaic.default_device()
      if comm.rank == 0 then mosaic.set_default_device "cpu" end
      comm:barrier()
      return { first, mosaic.default_device() }
    end)
    assert.same({ { before, "cpu" }, { before, before } }, seen)
  end)

  it("is another one for a while", function()
    assert.same({ "cpu", 3 }, { mosaic.with_device("cpu", function(n)
      return mosaic.zeros({ n }).device, n
    end, 3) })
    fails("oh", function() mosaic.with_device("cpu", function() error "oh" end) end)
    assert.equal(before, mosaic.default_device())
    fails("with_device: the body must be a function, got nil", function() mosaic.with_device "cpu" end)
    fails("with_device: device cudo is not available here: there is no plug-in",
      function() mosaic.with_device("cudo", print) end)
  end)

  it("must exist", function()
    fails("set_default_device: device must be a name such as \"cuda:0\", got nil",
      function() mosaic.set_default_device() end)
    fails("set_default_device: there is no device 'cpu:1': expected cpu, family or family:number",
      function() mosaic.set_default_device "cpu:1" end)
    fails("zeros: device must be a name such as \"cuda:0\", got 3",
      function() mosaic.zeros { 1, device = 3 } end)
    fails("zeros: device cudo is not available here: ", function() mosaic.zeros { 1, device = "cudo" } end)
    fails("(did you mean 'cuda'?)", function() mosaic.zeros { 1, device = "cudo" } end)
  end)
end)

describe("devices", function()
  it("are listed, the CPU first", function()
    local first = mosaic.devices()[1]
    assert.same({ "cpu", "CPU" }, { first.name, first.model })
    assert.is_true(first.total_bytes > 2 ^ 20)
    assert.same({ first }, mosaic.devices "cpu")
    fails("devices: device cudo is not available here: ", function() mosaic.devices "cudo" end)
  end)

  it("are where :cpu() and :to say", function()
    local x = mosaic.ones { 2, device = "cpu" }
    assert.equal(x, x:cpu())
    assert.equal(x, x:to { device = "cpu" })
    fails("cuda: the device's number must be an integer of at least 0, got -1", function() x:cuda(-1) end)
    local model = mosaic.nn.Linear { in_features = 2, out_features = 3 }:cpu()
    assert.equal("cpu", model.weight.device)
  end)

  it("have memory that is counted", function()
    local memory = mosaic.memory "cpu"
    assert.is_true(memory.free_bytes > 0 and memory.limit_bytes >= memory.live_bytes)
  end)
end)

describe("mosaic-lua --device", function()
  it("names the default device", function()
    local result = program "--device cpu -e 'print(mosaic.default_device())'"
    assert.same({ "cpu\n", "", 0 }, { result.out, result.err, result.status })
    assert.equal("cpu\n", program("--device=cpu -e 'print(mosaic.zeros({1}).device)'").out)
    assert.equal("cpu\n", program("-e 'print(mosaic.default_device())'", { env = "MOSAIC_DEVICE=cpu" }).out)
    assert.equal("cpu\ncpu\n", program("--virtual 2 --device cpu -e 'print(mosaic.default_device())'").out)
  end)

  local missing = { env = "MOSAIC_CUDA_LIB=/no/such/plugin.so MOSAIC_DEVICE=" }

  it("that cannot be used is told before anything runs, with exit status 2", function()
    local says = "device cuda is not available here: /no/such/plugin.so: cannot open shared object file"
    local result = program("--device cuda -e 'print(1)'", missing)
    assert.same({ "", 2 }, { result.out, result.status })
    assert.equal(1, (result.err:find("mosaic-lua: --device: " .. says, 1, true)))
    result = program("-e 'print(1)'", { env = missing.env .. " MOSAIC_DEVICE=cuda" })
    assert.same({ "", 2 }, { result.out, result.status })
    assert.equal(1, (result.err:find("mosaic-lua: MOSAIC_DEVICE: " .. says, 1, true)))
    result = program "--device"
    assert.same({ "", 2 }, { result.out, result.status })
    assert.truthy(result.err:find("--device: a device's name is missing", 1, true))
  end)

  it("whose library is missing says which, and what to do", function()
    local folder = program.shell("mktemp -d").out:match "%S+"
    local build = [[cd %s && echo 'int f(void) { return 1; }' >f.c && library=libcublasLt.so.0 &&
      cc -shared -fPIC -o $library -Wl,-soname,$library f.c &&
      cc -shared -fPIC -Wl,--no-as-needed -o plug.so f.c $library && rm $library]]
    assert.equal(0, program.shell(build:format(folder)).status)
    local result = program("--device cuda -e ''", { env = ("MOSAIC_CUDA_LIB=%s/plug.so"):format(folder) })
    assert.matches("libcublasLt.so.0: cannot open .-; CUDA 13's libraries are missing: ", result.err)
    program.shell("rm -r " .. folder)
  end)

  it("that is of another version is one that cannot be used", function()
    local source, library = program.script "const long mosaic_device_plugin[4] = {1};", os.tmpname()
    assert.equal(0, program.shell(("cc -shared -x c -o %s %s"):format(library, source)).status)
    local environment = { env = "MOSAIC_DEVICE= MOSAIC_CUDA_LIB=" .. library }
    local result = program("--device cuda -e 'print(1)'", environment)
    assert.same({ "", 2 }, { result.out, result.status })
    local says = "device cuda: its plug-in is of another version of Mosaic"
    assert.equal(("mosaic-lua: --device: %s\n"):format(says), result.err)
    os.remove(source)
    os.remove(library)
  end)

  it("that cannot be used ends all ranks", function()
    local result = program("-n 2 --device cuda -e 'print(1)'", missing)
    assert.same({ "", 2 }, { result.out, result.status })
    assert.truthy(result.err:find("[ranks 0-1/2 ", 1, true), result.err)
    assert.truthy(result.err:find("--device: device cuda is not available here", 1, true))
  end)

  it("is not needed where there is none", function()
    local result = program("-e 'print(mosaic.ones({2}):sum():item())'", missing)
    assert.same({ "2\n", "", 0 }, { result.out, result.err, result.status })
    result = program("doctor", missing)
    assert.truthy(result.out:find("gpus      none: device cuda is not available here: /no/such", 1, true))
  end)
end)
