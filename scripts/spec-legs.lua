--- What scripts/run-specs.lua runs: legs, each of them one process, or a job of ranks, over some specs.
--   legs(isas, options) -> list, or nil and what is wrong with the options
-- isas: the kernels that this machine has, widest first; options: sanitize, cuda, ranks, files and folders.
-- A leg: { name =, isa = its kernels, roots = files and folders, ranks = P or nil, brief = are the specs to
-- be short, environment = "A=1 B=2" or nil }.
local lfs = require "lfs"

local function set(names)
  local list = {}
  for name in names:gmatch "%S+" do list[name] = true end
  return list
end

--- Folders whose specs want a leg of another kind.
local ELSEWHERE = set "support mpi cuda cuda_mpi"
--- Specs that say the same whatever the kernels.
local NOT_NUMERIC = set "support mpi cuda cuda_mpi host data strategy examples bench_spec.lua"
--- Specs that say nothing of a device, or that scripts/gpu-check runs apart; all others hold on every device.
local NOT_OF_DEVICES = set [[
  support mpi cuda cuda_mpi host command data examples
  bench_spec.lua cuda_spills_spec.lua layers_spec.lua public_spec.lua reference_spec.lua ]]
--- Specs of devices that say the same in whatever order threads run.
local NOT_OF_LANES = set "comm_spec.lua device_spec.lua transport_spec.lua variants_spec.lua"
--- What AMX does otherwise than AVX-512: all other kernels are the same.
local OF_TILES = {
  "spec/attention", "spec/attention_spec.lua", "spec/tensor/matmul_spec.lua",
  "spec/tensor/linear_spec.lua", "spec/autograd/products_spec.lua",
}
--- Folders that take as long as all others together: they have a leg of their own.
local LONG = { "strategy", "nanotabpfn" }
--- What emulated devices do in seconds, under sanitizers, too.
local QUICK = {
  "spec/tensor", "spec/optim", "spec/nn/layers_spec.lua", "spec/nn/module_spec.lua",
  "spec/attention_spec.lua", "spec/regressions/ranks_spec.lua", "spec/trace_spec.lua",
}

--- Spec files, and folders with specs, in a folder, without the excluded ones.
local function roots(excluded, place)
  local list = {}
  place = place or "spec"
  for name in lfs.dir(place) do
    local path = place .. "/" .. name
    local folder = lfs.attributes(path, "mode") == "directory" and name:sub(1, 1) ~= "."
    if (folder or name:find "_spec%.lua$") and not excluded[name] then list[#list + 1] = path end
  end
  table.sort(list)
  return list
end

--- A list of legs: list:add { ... } adds one, list:add_halves({ ... }, excluded) two of all specs, one of
-- them of the long ones. They have kernels `isa` where they do not say so themselves.
local Legs = {}
Legs.__index = Legs

function Legs:add(leg)
  leg.isa = leg.isa or self.isa
  self[#self + 1] = leg
end

function Legs:add_halves(leg, excluded)
  local long, others = {}, setmetatable({}, { __index = excluded })
  for i, folder in ipairs(LONG) do long[i], others[folder] = "spec/" .. folder, true end
  local function half(name, paths)
    self:add { name = name, roots = paths, brief = leg.brief, environment = leg.environment }
  end
  half(leg.name .. ", long", long)
  half(leg.name, roots(others))
end

function Legs:add_ranks(count, paths, environment)
  self:add { name = count .. " ranks", ranks = count, roots = paths, environment = environment }
end

--- Everything with the widest kernels, numbers with the others, messages on ranks.
local function add_cpu(legs, isas, sanitize)
  legs:add_halves({ name = isas[1], brief = sanitize }, ELSEWHERE)
  for i = 2, sanitize and 1 or #isas do
    local numeric = isas[i - 1] == "amx" and OF_TILES or roots(NOT_NUMERIC)
    legs:add { name = isas[i], isa = isas[i], roots = numeric, brief = true }
  end
  legs:add_ranks(2, { "spec/mpi" })
  if not sanitize then legs:add_ranks(4, { "spec/mpi" }) end
end

-- ---- CUDA devices ---------------------------------------------------------------------------

--- Memory that is checked to its end.
local UNCACHED = " MOSAIC_CUDA_CACHE=0"
--- And messages of some pieces.
local SMALL = UNCACHED .. " MOSAIC_STAGING_PIECE=1000 MOSAIC_IPC_SLOT=1000"
local HOPPER = "spec/cuda/attention_hopper_spec.lua"

--- The device that is tested, as legs call it and as specs are told it, and whether it is emulated.
local function tested()
  local device = os.getenv "MOSAIC_TEST_DEVICE" or "cuda"
  local emulated = (os.getenv "MOSAIC_CUDA_LIB" or ""):find("emulated", 1, true) ~= nil
  return device, "MOSAIC_TEST_DEVICE=" .. device, emulated
end

--- Specs of devices name theirs; the others get it as the default one.
local function by_default(device, named)
  local environment = ("%s MOSAIC_DEVICE=%s"):format(named, device)
  return { name = "default device " .. device, brief = true, environment = environment }
end

--- Emulated devices can be of another kind.
local function add_hopper(legs, device, named)
  for _, order in ipairs { "forward", "reversed" } do
    legs:add {
      name = ("%s, capability 9.0, %s"):format(device, order), roots = { HOPPER }, brief = true,
      environment = ("%s MOSAIC_EMULATED_CAPABILITY=90 MOSAIC_EMULATED_ORDER=%s"):format(named, order),
    }
  end
end

--- There can be several of them, and their threads run in another order.
local function add_emulated(legs, device, named)
  legs:add_ranks(2, { "spec/cuda_mpi" }, named .. SMALL .. " MOSAIC_EMULATED_DEVICES=2") -- one for each rank
  legs:add_ranks(4, { "spec/cuda_mpi" }, named .. " MOSAIC_EMULATED_DEVICES=3") -- two share one: both ways
  legs:add { -- of kernels that the first leg has compiled
    name = device .. ", lanes in reverse", roots = roots(NOT_OF_LANES, "spec/cuda"), brief = true,
    environment = named .. " MOSAIC_EMULATED_ORDER=reversed",
  }
end

local function add_cuda(legs)
  local device, named, emulated = tested()
  legs:add { name = device, roots = { "spec/cuda" }, brief = true, environment = named .. UNCACHED }
  local common = by_default(device, named)
  if emulated then
    add_hopper(legs, device, named)
    common.roots = QUICK
    legs:add(common)
  else
    legs:add_halves(common, NOT_OF_DEVICES)
  end
  legs:add_ranks(2, { "spec/cuda_mpi" }, named .. SMALL)
  legs:add_ranks(2, { "spec/cuda_mpi/comm_spec.lua" },
    named .. SMALL .. " MOSAIC_TRANSPORT=staged MOSAIC_STAGING_LIMIT=1")
  if emulated then add_emulated(legs, device, named) else legs:add_ranks(4, { "spec/cuda_mpi" }, named) end
end

--- What a file or folder wants of the device.
local function kind_of(path)
  path = path:gsub("^%./", ""):gsub("/+$", "")
  if path:find "^spec/cuda_mpi" then return "ranks" end
  if path == HOPPER then return "hopper" end
  return (path == "spec/cuda" or path:find "^spec/cuda/") and "own" or "common"
end

--- A leg for each kind of these files and folders; or what is wrong with them.
local function add_cuda_files(legs, paths, ranks)
  local device, named, emulated = tested()
  local kinds = { own = {}, hopper = {}, ranks = {}, common = {} }
  for _, path in ipairs(paths) do
    local kind = kind_of(path)
    if ranks and kind ~= "ranks" then return ("--cuda runs %s on one rank, not on %d"):format(path, ranks) end
    table.insert(kinds[kind], path)
  end
  local function add(leg, of_kind, when_emulated)
    if #of_kind == 0 then return end
    leg.roots, leg.brief = of_kind, leg.ranks == nil
    leg.environment = leg.environment .. (emulated and when_emulated or "")
    legs:add(leg)
  end
  add({ name = device, environment = named .. UNCACHED }, kinds.own)
  add({ name = device .. ", capability 9.0", environment = named .. UNCACHED }, kinds.hopper,
    " MOSAIC_EMULATED_CAPABILITY=90")
  add(by_default(device, named), kinds.common)
  ranks = ranks or 2
  add({ name = ranks .. " ranks", ranks = ranks, environment = named .. SMALL }, kinds.ranks,
    " MOSAIC_EMULATED_DEVICES=" .. ranks)
end

return function(isas, options)
  local legs, wrong = setmetatable({ isa = isas[1] }, Legs), nil
  if options.cuda and #options > 0 then
    wrong = add_cuda_files(legs, options, options.ranks)
  elseif options.cuda then
    add_cuda(legs)
  elseif options.ranks then
    legs:add_ranks(options.ranks, options)
  elseif #options > 0 then
    legs:add { name = isas[1], roots = options }
  else
    add_cpu(legs, isas, options.sanitize)
  end
  return not wrong and legs or nil, wrong
end
