--- Products with the model's weights (8 tables of 150 rows and 6 columns), beside the system's OpenBLAS under
-- every name for a CPU that this one can be taken for, and torch's.
local bench = require "bench"
local mosaic = require "mosaic"
local Peer = require "peer"

local ROWS, CALLS = 7200, 10
local SHAPES = { { 96, 288 }, { 96, 96 }, { 96, 192 }, { 192, 96 } } -- K, N
--- OpenBLAS's names for CPUs, and what each wants of this one, or it would end by a signal.
local CORES = {
  { "Haswell", "avx2" }, { "Zen", "avx2" }, { "SkylakeX", "avx512vl" }, { "Cooperlake", "avx512_bf16" },
  { "SapphireRapids", "amx_bf16" },
}

local function cpu_flags()
  local file = io.open "/proc/cpuinfo"
  local line = file and file:read("*a"):match "flags[^\n]*" or ""
  if file then file:close() end
  return line .. " "
end

--- An OpenBLAS for each name that it knows.
local function openblas(program)
  local list, known, flags = {}, {}, cpu_flags()
  for _, core in ipairs(CORES) do
    local peer = flags:find(" " .. core[2] .. " ", 1, true)
      and Peer.start(program, nil, "OPENBLAS_CORETYPE=" .. core[1])
    if peer and not known[peer.name] then
      known[peer.name], list[#list + 1] = true, peer
    end
  end
  return list
end

--- The fastest of these for a case.
local function best_of(peers, case)
  local best, least
  for _, peer in ipairs(peers) do
    peer:time(case)
    local seconds = bench.median { peer:time(case), peer:time(case), peer:time(case) }
    if not least or seconds < least then best, least = peer, seconds end
  end
  return best
end

local function row(place, blas, name, variant, sizes, body)
  if not bench.selected { name = name, variant = variant } then return end
  local case = ("%s %d"):format(sizes, CALLS)
  local m, n, k = sizes:match "(%d+) (%d+) (%d+)"
  local best = best_of(blas, case)
  bench.compare {
    name = name, variant = variant, unit = "GFLOP/s", work = 2 * m * n * k * CALLS,
    body = function()
      for _ = 1, CALLS do body():free() end
    end,
    rivals = {
      { peer = best, case = case, name = best and best.name:match "^%S+ %S+" .. ", best core type" },
      { peer = place.torch, case = "product " .. case },
    },
  }
end

return function(place)
  local blas = openblas(place.build .. "/bench_blas")
  for _, shape in ipairs(SHAPES) do
    local k, n = unpack(shape)
    local x, w, dy = mosaic.randn { ROWS, k }, mosaic.randn { n, k }, mosaic.randn { ROWS, n }
    local variant = ("K x N = %d x %d"):format(k, n)
    row(place, blas, "linear, 7200 rows", variant, ("nt %d %d %d"):format(ROWS, n, k),
      function() return mosaic.linear(x, w) end)
    row(place, blas, "its gradient of x", variant, ("nn %d %d %d"):format(ROWS, k, n),
      function() return dy:matmul(w) end)
    row(place, blas, "its gradient of w", variant, ("tn %d %d %d"):format(n, k, ROWS),
      function() return dy:transpose(1, 2):matmul(x) end)
  end
end
