--- Mosaic: `local mosaic = require "mosaic"`. What a name needs is loaded when it is first used.
local unusable = require "mosaic.environment".problem()
if unusable then require "mosaic.check".fail("%s", unusable) end
require "mosaic.autograd" -- from here on, tensors record

-- What one operation does is hundreds of instructions to the compiler, whose limits are for smaller programs:
-- past them it begins anew, or does nothing. And what leaves compiled code 10 times is seldom worth a trace
-- of its own: from 40 on, a training program has a tenth fewer, and 150 steps take 0.5 of 13.5 s less.
local compiler = {
  "maxtrace=8000", "maxrecord=16000", "maxirconst=2000", "maxsnap=4000", "maxmcode=32768", "hotexit=40",
}
local optimize = require("jit.opt").start
optimize(unpack(compiler))

-- On ARM a compiled product and sum may become one instruction, which rounds once: numbers, and what ranks
-- decide by them, would depend on what has been compiled. Older compilers do so where they join any two.
if jit.arch == "arm64" and not pcall(optimize, "-fma") then optimize "-fuse" end

local mosaic = {}

--- Public names, by the module that has them.
local NAMES = {
  ["mosaic.tensor.create"] = { "tensor", "empty", "zeros", "ones", "full", "arange" },
  ["mosaic.tensor.choose"] = { "where" },
  ["mosaic.tensor.scope"] = { "keep", scope = "run" },
  ["mosaic.tensor.random"] = { "rand", "randn", "randint", "randperm", "generator", "manual_seed" },
  ["mosaic.tensor.matmul"] = { "linear" },
  ["mosaic.tensor.join"] = { "cat", "stack" },
  ["mosaic.tensor.cross_entropy"] = { "cross_entropy" },
  ["mosaic.autograd"] = { "no_grad", "checkpoint", "gradcheck" },
  ["mosaic.attention"] = { "sdpa", "merge" },
  ["mosaic.program"] = { "lookup" },
  ["mosaic.mask_rows"] = { move_mask = "move" },
  ["mosaic.comm"] = { virtual = "spawn" },
  ["mosaic.context"] = { "init", "mesh" },
  ["mosaic.parallel"] = { "shard", "unshard", "sync_gradients", "broadcast_parameters", "total" },
  ["mosaic.data"] = { "load", "save" },
  ["mosaic.runtime"] = {
    "version", "isa", "threads", "set_threads", "memory", "reset_peak_memory", "set_memory_limit", "collect",
    "set_matmul_precision", "matmul_precision",
  },
  ["mosaic.device"] = {
    "synchronize", devices = "list", device_name = "name", default_device = "default",
    set_default_device = "set_default", with_device = "with",
  },
}

--- Public names that are modules (or, as attend, functions) themselves.
local MODULES = {
  Tensor = "mosaic.tensor", program = "mosaic.program",
  autograd = "mosaic.autograd", attention = "mosaic.attention",
  attend = "mosaic.attend", comm = "mosaic.comm", strategy = "mosaic.strategy",
  KVCache = "mosaic.kv_cache",
  wire = "mosaic.wire", compressed = "mosaic.compressed",
  rshard = "mosaic.rshard",
  MultiAxisAttention = "mosaic.nn.multi_axis_attention",
  MultiAxisAttention2D = "mosaic.nn.multi_axis_attention_2d",
  CrossAxisAttention = "mosaic.nn.cross_axis_attention",
  ComposedAttention = "mosaic.nn.composed_attention",
  HierarchicalAttention = "mosaic.nn.hierarchical_attention",
  switch = "mosaic.switch",
  trace = "mosaic.trace",
  balance = "mosaic.balance", verify = "mosaic.verify",
  rotate = "mosaic.rotate", move = "mosaic.move", placement = "mosaic.placement",
  infini_attention = "mosaic.infini", InfiniAttention = "mosaic.nn.infini_attention",
  partition = "mosaic.partition", data = "mosaic.data", nn = "mosaic.nn", optim = "mosaic.optim",
  check = "mosaic.check", class = "mosaic.class", clock = "mosaic.clock", terminal = "mosaic.terminal",
}

local home = {} -- public name -> { module, name there }
for module, names in pairs(NAMES) do
  for public, name in pairs(names) do
    home[type(public) == "number" and name or public] = { module, name }
  end
end

local names = {} -- for completion at the prompt
for name in pairs(home) do names[#names + 1] = name end
for name in pairs(MODULES) do names[#names + 1] = name end

return setmetatable(mosaic, {
  names = names,
  __index = function(self, name)
    local value
    if home[name] then
      value = require(home[name][1])[home[name][2]]
    elseif MODULES[name] then
      value = require(MODULES[name])
    end
    self[name] = value
    return value
  end,
})
