--- All benchmarks, one after the other: `scripts/bench/run [--brief] [GROUP [PART]]`.
-- GROUP: those groups of GROUPS whose names contain it; PART: of their rows those that contain it; --brief:
-- two rounds only, to try a row out. All of them together leave bench.json and bench.md in the build folder.
package.path = "scripts/bench/?.lua;scripts/?.lua;examples/?.lua;" .. package.path
local bench = require "bench"
local json = require "mosaic.data.json"
local markdown = require "markdown"
local mosaic = require "mosaic"

--- In this order: small things before others fill the heap that Lua collects; and what takes much fresh
-- memory, which is slow to get on virtual machines, last. Each is rows/NAME.lua.
local GROUPS = {
  "start", "recorded", "kernels", "sdpa", "bf16", "data", "masks", "products", "training", "strategies",
  "threads", "long", "features", "ranks",
}

local words = { unpack(arg, 2) }
if words[1] == "--brief" then
  table.remove(words, 1)
  bench.brief = true
end
local build, group, part = arg[1], words[1] or "", words[2] or ""
bench.part = part

local python = build .. "/peers/bin/python"
local place = {
  build = build,
  torch = bench.start_peer(python, "scripts/bench/torch_peer.py"),
  onnxruntime = bench.start_peer(python, "scripts/bench/onnxruntime_peer.py"),
}

local function describe()
  local peers = {}
  for _, name in ipairs { "torch", "onnxruntime" } do
    peers[#peers + 1] = place[name] and place[name].name or "no " .. name
  end
  return ("Mosaic %s, %s kernels; %s"):format(mosaic.version(), mosaic.isa(), table.concat(peers, ", "))
end

local function write(name, text)
  local file = assert(io.open(build .. "/" .. name, "w"))
  file:write(text)
  file:close()
end

print(describe())
local start = bench.wall()
for _, name in ipairs(GROUPS) do
  if name:find(group, 1, true) then
    require("rows." .. name)(place)
    collectgarbage()
  end
end
print(("%d rows in %.0f s\n"):format(#bench.rows, bench.wall() - start))
io.write(markdown(bench.rows))
if group .. part == "" then
  write("bench.json", json.encode { what = describe(), rows = bench.rows } .. "\n")
  write("bench.md", markdown(bench.rows))
  print(("\nwrote %s/bench.json and bench.md"):format(build))
end
