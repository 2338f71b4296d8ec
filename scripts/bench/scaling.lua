--- `make bench-scaling`: time against rows, head sizes, ranks and threads, as PNGs in the build folder.
--   mosaic-lua scripts/bench/scaling.lua BUILD [brief]
-- Medians of CPU time on one thread; MPI ranks and threads, of which there are as many as cores, by the clock
-- on the wall.
package.path = "scripts/bench/?.lua;scripts/?.lua;" .. package.path
local bench = require "bench"
local draw = require "gnuplot"
local mosaic = require "mosaic"
local sdpa = require "sdpa"

local SPAN = 0.02 -- seconds that a measurement takes at least
local DIRECTIONS = { { "forward", 1 }, { "backward", 2.5 } } -- and multiply-adds, as multiples of forward's

local build = arg[1]
bench.brief = arg[2] == "brief"

--- Milliseconds of one call.
local function median(body, clock)
  body()
  local calls, times = math.ceil(SPAN / math.max(bench.time(body, bench.wall), 1e-6)), {}
  for i = 1, bench.rounds(3) do
    times[i] = bench.time(function()
      for _ = 1, calls do body() end
    end, clock) / calls * 1e3
  end
  return bench.median(times)
end

local function cores()
  local pipe = io.popen "nproc"
  local count = pipe:read "*n"
  pipe:close()
  return count
end

local function curve(title, axes)
  return { title = title, style = "linespoints linewidth " .. (axes and 1 or 2), axes = axes }
end

local function figure(name, settings, curves)
  local path = ("%s/scaling-%s.png"):format(build, name)
  for _, c in ipairs(curves) do
    for _, point in ipairs(c) do print(("%s, %s: %d: %.4g"):format(name, c.title, unpack(point))) end
  end
  print(draw(path, settings, curves) and "wrote " .. path or "no plot: gnuplot failed")
end

--- Time and rate of attention, for each of `cases`: { x, N, d }.
local function attention(name, settings, cases)
  local curves = {}
  for _, entry in ipairs(DIRECTIONS) do
    local direction, share = unpack(entry)
    local time, rate = curve(direction .. ", ms"), curve(direction .. ", GFLOP/s", "x1y2")
    for i, case in ipairs(cases) do
      local x, n, size = unpack(case)
      time[i] = { x, median(sdpa[direction](sdpa.operands(n, size))) }
      rate[i] = { x, share * sdpa.flops(n, size) / time[i][2] * 1e-6 }
    end
    curves[#curves + 1], curves[#curves + 2] = time, rate
  end
  figure(name, [[
set ylabel "ms, one thread"
set y2label "GFLOP/s"
set logscale y
set ytics nomirror
set y2tics
set y2range [0:*]
]] .. settings, curves)
end

local function rows()
  local cases = {}
  for power = 8, bench.brief and 12 or 15 do cases[#cases + 1] = { 2 ^ power, 2 ^ power, 24 } end
  attention("rows", 'set logscale x 2; set xlabel "rows, d = 24"', cases)
end

local function sizes()
  local cases = {}
  for _, size in ipairs { 8, 16, 24, 32, 48, 64, 80, 96, 128, 160, 192, 256 } do
    cases[#cases + 1] = { size, 2048, size }
  end
  attention("sizes", 'set xlabel "head size, N = 2048"', cases)
end

--- A ring of virtual ranks, all of them.
local function virtual_ring(count, rows_total)
  local shards = {}
  for rank = 0, count - 1 do shards[rank] = sdpa.operands(rows_total / count, 24, 4) end
  return function()
    mosaic.virtual(count, function(comm)
      local x = shards[comm.rank]
      mosaic.no_grad(mosaic.attend, x.q, x.k, x.v, { strategy = "ring", comm = comm })
    end)
  end
end

local function ranks(rows_total)
  local virtual, mpi = curve "virtual ranks, CPU time of all", curve "MPI ranks"
  for power = 0, bench.brief and 2 or 5 do
    virtual[power + 1] = { 2 ^ power, median(virtual_ring(2 ^ power, rows_total)) }
  end
  for count = 1, cores() do
    local command = "env MOSAIC_THREADS=1 %s/mosaic-lua -n %d scripts/bench/ranks.lua ring %d %s"
    local even = rows_total - rows_total % count
    bench.rows_of(command:format(build, count, even, bench.brief and "brief" or ""))
    mpi[count] = { count, bench.rows[#bench.rows].value * 1e3 }
  end
  figure("ranks", ([[
set xlabel "ranks, ring, N = %d, 4 heads of 24"
set ylabel "ms"
set logscale x 2
set yrange [0:*] ]]):format(rows_total), { virtual, mpi })
end

local function threads()
  local curves = {}
  for _, entry in ipairs(DIRECTIONS) do
    local body, time = sdpa[entry[1]](sdpa.operands(4096, 64)), curve(entry[1])
    for count = 1, cores() do
      mosaic.set_threads(count)
      time[count] = { count, median(body, bench.wall) }
    end
    curves[#curves + 1] = time
  end
  figure("threads", [[
set xlabel "threads, N = 4096, d = 64"
set xtics 1
set ylabel "ms"
set yrange [0:*] ]], curves)
end

mosaic.set_threads(1)
rows()
sizes()
ranks(8192)
threads()
