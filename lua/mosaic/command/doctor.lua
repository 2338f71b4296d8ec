--- mosaic-lua doctor: what this job runs on. With -n the ranks and their nodes, detected and by latency.
local USAGE = [[
usage: mosaic-lua [-n P] doctor
Prints the kernels and threads in use, the ranks' transport, and which ranks share a node: detected (shared
memory, or MOSAIC_NODE_SIZE) and probed (by the latency of small messages).
]]

local word = ...
if word then
  local help = word == "--help"
  local out = help and io.stdout or io.stderr
  out:write(help and "" or ("mosaic-lua doctor: unknown option '%s'\n"):format(word), USAGE)
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

local detected, probed = comm:nodes(), comm:nodes { probe = true }
if comm.rank > 0 then return end
print("version   " .. mosaic.version())
print("kernels   " .. mosaic.isa())
print("threads   " .. mosaic.threads())
print(("ranks     %d (%s)"):format(comm.size, comm.transport))
print("nodes     " .. show(detected))
print("probed    " .. show(probed))
