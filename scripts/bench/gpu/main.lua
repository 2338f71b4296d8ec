--- The GPU benchmark: scripts/gpu-bench calls it.
package.path = "scripts/bench/?.lua;examples/?.lua;" .. package.path
local attention = require "gpu.attention"
local bench = require "bench"
local errors = require "gpu.errors"
local json = require "mosaic.data.json"
local measure = require "gpu.measure"
local memory = require "gpu.memory"
local mosaic = require "mosaic"
local options = require "support.options"
local report = require "gpu.report"

local o = options.parse("scripts/gpu-bench", "Mosaic beside torch on one GPU: speed, bandwidth, errors.", {
  { "device", "cuda", "the GPU" },
  { "out", "build/gpu-bench", "folder of gpu-bench.md and gpu-bench.json" },
  { "python", "python3", "a Python with torch; none: no peer" },
  { "only", "", "measure rows whose names contain this" },
  { "seconds", 240, "start no row after so many seconds", above = 0 },
  { "repetitions", 5, "of each measurement, in turns; the median counts", integer = 1 },
  { "warm", false, "measure nothing: let torch compile FlexAttention, which it then finds compiled" },
  { "tiny", false, "sizes that an emulated device can do: nothing is measured" },
}, arg)
if not o then return end
local chosen, why = pcall(mosaic.set_default_device, o.device)
if not chosen then
  io.stderr:write(("gpu-bench: --device: %s\n"):format((why:gsub("^.-set_default_device: ", ""))))
  os.exit(2, true)
end

local FULL = {
  n = 16384, heads = { [24] = 48, [64] = 32, [128] = 16 }, rows = 150000, side = 16384, tables = 32,
}
local TINY = { n = 64, heads = { [24] = 2, [64] = 1, [128] = 1 }, rows = 20, side = 32, tables = 1 }

--- "NVIDIA H100 80GB HBM3 (cuda:0)"
local function device_text()
  local name = mosaic.default_device()
  for _, device in ipairs(mosaic.devices(name:match "^%a+")) do
    if device.name == name then return ("%s (%s)"):format(device.model, name) end
  end
end

local function write(name, text)
  local file = assert(io.open(o.out .. "/" .. name, "w"))
  file:write(text)
  file:close()
end

local peer = o.python ~= "none" and bench.start_peer(o.python, "scripts/bench/gpu/peer.py") or nil
local sizes = o.tiny and TINY or FULL
local header = table.concat({
  device_text(), "Mosaic " .. mosaic.version(), "peer: " .. (peer and peer.name or "none"),
  ("medians of %d, in turns"):format(o.repetitions), os.date "!%Y-%m-%d",
  ("command: `scripts/gpu-bench %s`"):format(table.concat(arg, " ")),
  o.tiny and "tiny sizes: times mean nothing" or nil,
}, "; ")
print(header)

local function save()
  write("gpu-bench.md", report.markdown(header, measure.rows))
  write("gpu-bench.json", json.encode { header = header, rows = measure.rows } .. "\n")
end

mosaic.data.make_folder(o.out)
measure.begin {
  peer = peer, repetitions = o.repetitions, span = o.tiny and 0 or 0.02, wanted = o.only,
  deadline = bench.wall() + o.seconds, save = save, warm = o.warm, tiny = o.tiny,
}
mosaic.manual_seed(1)
memory.training(sizes) -- what has a goal comes first
attention.half(sizes, true)
attention.single(sizes)
errors(sizes)
attention.routing(sizes)
attention.half(sizes, false)
attention.features(sizes)
memory.streams(sizes)

local met, missed, failed = report.count(measure.rows)
print(("%d goals met, %d missed or not measured, %d rows failed; %s/gpu-bench.md"):format(
  met, missed, failed, o.out))
os.exit(failed == 0 and 0 or 1, true)
