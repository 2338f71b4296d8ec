--- Every public function, called with nothing and with a value of a type that nothing takes: the message
-- starts with the function's name and points at the line of the call.
local mosaic = require "mosaic"

local nn, optim = mosaic.nn, mosaic.optim

--- Public names that are not called here: what is no function of the user's, or never fails.
local LEFT_OUT = {
  Tensor = true, check = true, class = true, clock = true, terminal = true, Comm = true,
  describe = true, fingerprint = true, sizes = true, name_of = true, is = true, -- of the library's own use
  Optimizer = true, -- the base of the others
}

--- What messages start with where it is not the name, nor that of its module and the name.
local CALLED = {
  ["mosaic.comm.spawn"] = "virtual", ["mosaic.partition.new"] = "partition",
  ["mosaic.partition.of_counts"] = "partition", ["mosaic.strategy.get"] = "strategy",
  ["mosaic.strategy.run"] = "strategy", ["mosaic.manual_seed"] = "generator", ["mosaic.verify"] = "strategy",
  ["mosaic.strategy.check_inner"] = "strategy", ["mosaic.strategy.volume"] = "strategy",
  ["mosaic.attention.forward"] = "sdpa", ["mosaic.attention.merge_"] = "merge",
}

--- Names of functions that are content with nothing (or only with options), and with anything at all.
local NOTHING_IS_FINE = {
  empty = true, zeros = true, ones = true, rand = true, randn = true, generator = true, init = true,
  barrier = true, counters = true, sendrecv = true, split = true, nodes = true,
  memory = true, reset_peak_memory = true, device_name = true, synchronize = true, devices = true,
  cpu = true,
}
local ANYTHING_IS_FINE = {
  collect = true, alone = true, default_device = true, world = true, isa = true,
  threads = true, matmul_precision = true,
  version = true, names = true, poll = true, reset_counters = true, encode = true,
  step = true, zero_grad = true, state_dict = true, train = true, eval = true, describe = true,
  places = true, is_in_order = true, Module = true, reset_work = true, work = true, bytes_sent = true,
}

--- Calls f, with self (or false) before the argument, and looks at the error.
local function try(called, name, f, self, ...)
  local arguments, count = { self, ... }, select("#", ...) + 1
  local first = self and 1 or 2
  local line
  local ok, message = pcall(function()
    line = debug.getinfo(1, "l").currentline + 1
    local result = f(unpack(arguments, first, count))
    return result
  end)
  local short = name:match "[%w_]+$"
  if ok then
    local fine = ANYTHING_IS_FINE[short] or count == 1 and (NOTHING_IS_FINE[short] or nn[short])
    assert(fine, name .. ": accepted what it cannot use")
    return
  end
  local place = ("spec/public_spec.lua:%d: "):format(line)
  local function says(text) return text and tostring(message):find(place .. text, 1, true) end
  assert(says(called or short) or says(name:match "[%w_]+%.[%w_]+$") or says(name),
    ("%s(%s): expected %q and the name at the start of %q"):format(name, tostring((...)), place,
      tostring(message)))
end

local function both(called, name, f, self)
  try(called, name, f, self)
  try(called, name, f, self, true)
end

local function sorted_names(t)
  local names = {}
  for name in pairs(t) do
    if type(name) == "string" then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

local function is_class(value)
  return type(value) == "table" and rawget(value, "__index") == value
end

--- Every function and class below a public module.
local function visit(path, value)
  local meta = type(value) == "table" and getmetatable(value)
  if type(value) == "function" or is_class(value) or meta and meta.__call then
    both(CALLED[path], path, value, false)
  elseif type(value) == "table" then
    for _, name in ipairs(sorted_names(value)) do
      if not LEFT_OUT[name] and name ~= "abort" then visit(path .. "." .. name, value[name]) end
    end
  end
end

describe("called with nothing or nonsense, each says its name and the line:", function()
  local names = { unpack(getmetatable(mosaic).names) }
  table.sort(names)
  for _, name in ipairs(names) do
    if not LEFT_OUT[name] then
      it("mosaic." .. name, function() visit("mosaic." .. name, mosaic[name]) end)
    end
  end

  it("the methods of communicators", function()
    local world = mosaic.comm.world()
    for _, name in ipairs(sorted_names(mosaic.comm.Comm)) do
      local f = mosaic.comm.Comm[name]
      local own = name:sub(1, 2) == "__" or name == "wrap" or name:match "^check_"
      if type(f) == "function" and not own then both(nil, "comm:" .. name, f, world) end
    end
  end)

  it("forward of every layer, and the layer itself", function()
    local layers = {
      nn.Linear { in_features = 2, out_features = 2 }, nn.LayerNorm { features = 2 },
      nn.RMSNorm { features = 2 }, nn.Embedding { entries = 2, features = 2 }, nn.Dropout {},
      nn.MultiAxisAttention { embed_dim = 2, num_heads = 1, attention_axis = 1 },
    }
    for _, Activation in pairs(require "mosaic.nn.activation") do layers[#layers + 1] = Activation {} end
    for _, layer in ipairs(layers) do
      local name = getmetatable(layer).class_name
      both(name, name .. ":forward", layer.forward, layer)
      both(name, name, layer, false)
    end
    both("Linear", "Sequential", nn.Sequential { layers[1] }, false)
    both("Sequential", "Sequential:add", nn.Sequential.add, nn.Sequential {})
    for _, name in ipairs { "apply", "walk", "load_state_dict" } do
      both(nil, name, nn.Module[name], layers[1])
    end
  end)

  it("the methods of meshes, partitions, generators and optimizers", function()
    local mesh = mosaic.mesh { { "sp", 1 } }
    for _, name in ipairs { "comm", "size", "coordinate" } do both("mesh", name, mesh[name], mesh) end
    local part = mosaic.partition.new { rows = 3, ranks = 1 }
    for _, name in ipairs { "pieces", "count", "positions", "is_ascending", "count_up_to" } do
      both("placement", name, part[name], part)
    end
    local generator = mosaic.generator(1)
    for _, name in ipairs { "manual_seed", "seek" } do
      both("generator", name, generator[name], generator)
    end
    local sgd = optim.SGD { params = { mosaic.ones({ 2 }):requires_grad_() }, lr = 0.1 }
    both(nil, "load_state_dict", sgd.load_state_dict, sgd)
  end)

  it("options that hold the wrong thing", function()
    local x = mosaic.ones { 2 }
    local model = nn.Linear { in_features = 2, out_features = 2 }
    for name, call in pairs {
      shard = function() mosaic.shard(x, { axis = 1, comm = 3 }) end,
      unshard = function() mosaic.unshard(x, { axis = 1, comm = "sp" }) end,
      attend = function() mosaic.attend(x, x, x, { comm = {}, strategy = "ring" }) end,
      total = function() mosaic.total(3, { comm = true }) end,
      sync_gradients = function() mosaic.sync_gradients(model, { comm = model }) end,
      broadcast_parameters = function() mosaic.broadcast_parameters(model, { comm = x }) end,
    } do
      local ok, message = pcall(call)
      local said = tostring(message):match "^[^:]*public_spec.lua:%d+: (.*)"
      assert(not ok and said and said:find(name .. ": comm must be a communicator, ", 1, true) == 1, message)
    end
    local ok, message = pcall(mosaic.nn.mse_loss, x, model)
    assert(not ok and message:find("mse_loss: y must be a tensor, got a Linear", 1, true), message)
  end)
end)
