--- mosaic-lua doctor: what this job runs on. With -n the ranks and their nodes, detected and by latency.
local USAGE = [[
usage: mosaic-lua [-n P] [--device NAME] doctor
Prints the kernels and threads in use, each rank's device, what GPUs this machine has (or why none can be
used), how the ranks' messages travel (with -n and GPUs: tensors on them, too, in a line of its own), and the
nodes: which ranks share one, as detected (shared memory, or MOSAIC_NODE_SIZE) and as probed (by the latency
of small messages).
]]

local word = ...
if word then
  local help = word == "--help"
  local out = help and io.stdout or io.stderr
  local wrong = word:sub(1, 1) == "-" and "unknown option '%s'" or "doctor takes no arguments, got '%s'"
  out:write(help and "" or ("mosaic-lua doctor: %s\n"):format(wrong:format(word)), USAGE)
  os.exit(help and 0 or 2, true)
end

local mosaic = require "mosaic"
local comm = mosaic.comm.world()

--- "{0, 1} {2, 3}"
local function show(groups)
  local parts = {}
  for i, group in ipairs(groups) do parts[i] = "{" .. table.concat(group, ", ") .. "}" end
  return table.concat(parts, " ")
end

--- A device in a line: "cuda:0: NVIDIA H100 80GB HBM3, 79.6 GiB, compute capability 9.0, ..."
local function describe(device)
  local rest = device.details ~= "" and ", " .. device.details or ""
  return ("%s: %s, %.1f GiB%s"):format(device.name, device.model, device.total_bytes / 2 ^ 30, rest)
end

--- The rank's own device in a line.
local function own_device()
  local name = mosaic.default_device()
  for _, device in ipairs(mosaic.devices(name:match "^%a+")) do
    if device.name == name then return describe(device) end
  end
end

--- The ranks' devices: lists of the ranks that say the same, and what they say.
local function ranks_devices()
  local ranks, texts = {}, {}
  for i, text in ipairs(comm:all_gather_text(own_device())) do
    local list = ranks[text]
    if not list then
      list, texts[#texts + 1] = {}, text
      ranks[text] = list
    end
    list[#list + 1] = i - 1
  end
  return texts, ranks
end

local function print_gpus()
  local ok, found = pcall(mosaic.devices, "cuda")
  if not ok then return print("gpus      none: " .. found:gsub("^.-devices: ", "")) end
  for _, device in ipairs(found) do print("gpus      " .. describe(device)) end
end

local function print_nodes(label, groups, how)
  print(("%s%s (%s)"):format(label, show(groups), comm.size > 1 and "ranks that share a node, " .. how
    or "one rank, one node"))
end

local texts, ranks = ranks_devices()
if comm.size > 1 and mosaic.default_device() ~= "cpu" then
  comm:all_reduce(mosaic.ones { 1 }) -- rank 0 says how it travels
end
local detected, probed = comm:nodes(), comm:nodes { probe = true }
if comm.rank > 0 then return end
print("version   " .. mosaic.version())
print("kernels   " .. mosaic.isa())
print("threads   " .. mosaic.threads())
for _, text in ipairs(texts) do
  print(("device    %s%s"):format(comm.size > 1 and show { ranks[text] } .. " " or "", text))
end
print_gpus()
local ways = { mpi = "messages by MPI", virtual = "in one process" }
print(("ranks     %d (%s)"):format(comm.size, comm.size == 1 and "one process" or ways[comm.transport]))
local given = os.getenv "MOSAIC_NODE_SIZE"
print_nodes("nodes     ", detected, given and "by MOSAIC_NODE_SIZE" or "by their memory")
print_nodes("probed    ", probed, "by latency")
