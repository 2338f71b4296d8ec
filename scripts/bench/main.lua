--- All benchmarks, one after the other: scripts/bench/run calls it with the build folder, and takes a
-- word that the names of the wanted rows contain.
package.path = "scripts/bench/?.lua;examples/?.lua;" .. package.path
local bench = require "bench"
local json = require "mosaic.data.json"
local mosaic = require "mosaic"

local build, wanted = arg[1], arg[2] or ""
local peer = bench.start_peer(build .. "/peers/bin/python", "scripts/bench/peer.py")
print(("Mosaic, %s kernels, one thread; peer: %s"):format(mosaic.isa(), peer and peer.name or "none"))

local function selected(name) return name:find(wanted, 1, true) ~= nil end

--- Attention kernels as a share of the multiply-adds that the core can do (a program in C).
local function attention_share()
  local pipe = assert(io.popen(("%s/bench_attention '%s' 7"):format(build, wanted)))
  for line in pipe:lines() do bench.row(json.decode(line)) end
  pipe:close()
end

--- The same through the library's front door, beside torch's scaled_dot_product_attention.
local function attention_beside_torch(size, n)
  local function noise() return mosaic.randn { 1, 1, n, size } end
  local q, k, v, dout = noise(), noise(), noise(), noise()
  local function gflops(factor)
    return function(seconds) return factor * n * n * size / seconds * 1e-9 end
  end
  bench.compare {
    name = ("sdpa N=%d d=%d forward"):format(n, size), unit = "GFLOP/s", scale = gflops(4),
    body = function() mosaic.sdpa(q, k, v) end, peer = peer, case = ("forward %d %d"):format(size, n),
  }
  local out, lse = mosaic.sdpa(q, k, v)
  bench.compare {
    name = ("sdpa N=%d d=%d backward"):format(n, size), unit = "GFLOP/s", scale = gflops(10),
    body = function()
      mosaic.attention.backward(dout, lse, mosaic.attention.delta(dout, out), q, k, v)
    end,
    peer = peer, case = ("backward %d %d"):format(size, n),
  }
end

--- Attention between the columns of table rows, 4 heads of 24, on views of the projection as the model has
-- them: forward and backward.
local function feature_attention(rows, columns, threads)
  local x = mosaic.randn { rows, columns, 3, 4, 24 }
  local function part(i) return x:select(3, i):permute(1, 3, 2, 4) end
  local q, k, v = part(1), part(2), part(3)
  local dout = mosaic.randn { rows, columns, 4, 24 }:permute(1, 3, 2, 4)
  mosaic.set_threads(threads)
  bench.compare {
    name = ("feature attention %d x %d, threads: %d"):format(columns, rows, threads), wall = threads > 1,
    body = function()
      local out, lse = mosaic.attention.forward(q, k, v)
      local delta = mosaic.attention.delta(dout, out)
      local results = { out, lse, delta, mosaic.attention.backward(dout, lse, delta, q, k, v) }
      for _, t in ipairs(results) do t:free() end
    end,
    peer = peer, case = ("features %d %d %d"):format(rows, columns, threads), repetitions = 5,
  }
  for _, t in ipairs { x, dout } do t:free() end
  mosaic.set_threads(1)
end

--- LongNet's pattern against its share of the multiply-adds of a dense call, for all rows of some heads.
-- Value: time as a multiple of that share of the dense time; 1 would be a kernel that loses nothing.
local function dilated_share(n, size, heads)
  local segments, rates, share = { 2048, 8192, 32768 }, { 1, 4, 16 }, 0
  local strategy = { "dilated", segments = segments, rates = rates }
  for i, w in ipairs(segments) do share = share + w / rates[i] ^ 2 / n end
  local function noise(count) return mosaic.randn { 1, count, n, size } end
  local q, k, v, one = noise(heads), noise(heads), noise(heads), noise(1)
  local comm, times = mosaic.comm.alone(), {}
  local function attend() mosaic.no_grad(mosaic.attend, q, k, v, { strategy = strategy, comm = comm }) end
  attend()
  for i = 1, 3 do times[i] = bench.time(attend) end
  local dense = bench.time(function() mosaic.sdpa(one, one, one) end) * heads
  bench.row {
    name = ("dilated N=%d d=%d forward, %.1f %% of dense"):format(n, size, 100 * share), unit = "x its share",
    value = bench.median(times) / (share * dense),
  }
end

--- Forward, backward, clipping and update of nanoTabPFN on tables of 150 x 5, 75 training rows.
local function training_step(tables)
  local Trainer = require "nanotabpfn.trainer"
  local trainer = Trainer { model = require "nanotabpfn.model" {}, tables = tables, rows = 150, features = 5 }
  local batch = trainer:batch(0)
  bench.compare {
    name = ("nanoTabPFN training step, %d tables"):format(tables),
    body = function() trainer:step(batch) end,
    peer = peer, case = ("train %d 150 5 75"):format(tables), repetitions = tables > 8 and 5 or 7,
  }
end

--- What the tape costs: chains of operations on 4 x 4, per operation, forward alone and with backward; the
-- same additions unrecorded, too. The chains are short and repeated, as steps of a training are.
local function recorded_operations()
  local x = mosaic.randn { 4, 4, requires_grad = true }
  local y = mosaic.ones { 4, 4, requires_grad = true }
  local start, length, times = x:detach(), 1000, 100
  local function row(name, body)
    bench.compare {
      name = name, unit = "us", scale = function(seconds) return seconds / (length * times) * 1e6 end,
      body = function()
        for _ = 1, times do body() end
      end,
    }
  end
  local function chain(from, back, step)
    return function()
      local z = from
      for _ = 1, length do z = step(z) end
      if back then z:backward(start) end
      x.grad, y.grad = nil, nil
    end
  end
  local function add(z) return (z:add(y)) end
  local function mul(z) return (z:mul(y)) end
  row("one add, 4 x 4, unrecorded", function() mosaic.no_grad(chain(start, false, add)) end)
  row("one recorded add, 4 x 4", chain(x, false, add))
  row("one recorded add, 4 x 4, and its backward", chain(x, true, add))
  row("one recorded mul, 4 x 4, and its backward", chain(x, true, mul))
end

--- Wall time of the whole program, since most of it is the system's.
local function start_up()
  local times = {}
  for i = 1, 20 do
    local before = bench.wall()
    os.execute(build .. "/mosaic-lua -e ''")
    times[i] = (bench.wall() - before) * 1e3
  end
  bench.row { name = "start-up of mosaic-lua -e ''", value = bench.median(times), unit = "ms" }
end

--- Rings of MPI ranks, one thread each, beside what the machine's cores allow and paced wires (ranks.lua).
local function ranks(count, what, rows, environment)
  local command = ("%s %s/mosaic-lua -n %d scripts/bench/ranks.lua %s %d"):format(environment or "env", build,
    count, what, rows)
  local pipe = assert(io.popen(command))
  for line in pipe:lines() do
    if line:find "^{" then bench.row(json.decode(line)) end
  end
  pipe:close()
end

if selected "start" then start_up() end
if selected "recorded" then recorded_operations() end -- before others fill the heap that Lua collects
if selected "attention" then attention_share() end
if selected "sdpa" then
  attention_beside_torch(24, 4096)
  attention_beside_torch(64, 4096)
end
if selected "dilated" then dilated_share(32768, 64, 4) end
if selected "training" then
  training_step(8)
  training_step(32)
end
if selected "feature" then
  feature_attention(150000, 5, 1)
  feature_attention(150000, 5, 2)
end
if selected "ring" then
  ranks(2, "speed", 8192)
  ranks(2, "memory", 8192)
  ranks(4, "memory", 8192)
  for _, gbit in ipairs { 10, 1, 0.4, 0.2 } do ranks(2, "overlap", 4096, "MOSAIC_PACE=20:" .. gbit) end
end
if wanted == "" then bench.save(build .. "/bench.json") end
