--- Dilated attention over a long sequence that is spread over the ranks, forward and backward:
--   mosaic-lua -n 2 examples/dilated_long.lua --rows 1000000 --segments 2048,32768,524288 --rates 1,16,256
-- No rank ever holds the sequence: each draws its own rows of it. Prints what every rank computed, sent and
-- held; of the work of dense attention only the share sum w/r^2 / rows is left.
package.path = (arg[0]:match "^(.*/)[^/]*$" or "") .. "?.lua;" .. package.path
local mosaic = require "mosaic"
local fail = require "support.fail"
local options = require "support.options"

local OPTIONS = {
  { "rows", 8192, "length of the sequence", integer = 1 },
  { "segments", "512,2048,8192", "lengths of the segments, one for each rate" },
  { "rates", "1,4,16", "every how many rows are selected" },
  { "num-heads", 4, "attention heads", integer = 1 },
  { "head-size", 32, "channels of a head", integer = 1, most = 256 },
  { "causal", false, "rows see only those before them" },
  { "parallel", "rows", "rows: only selected rows travel; heads: rows change places with heads" },
}

local function list_of(name, text)
  local list = {}
  for word in (text .. ","):gmatch "([^,]*)," do
    local number = tonumber(word)
    if not number or number < 1 or number % 1 ~= 0 then
      fail("--%s: expected integers of at least 1 with commas, got '%s'", name, text)
    end
    list[#list + 1] = number
  end
  return list
end

--- The pattern as a strategy, and its share of the multiply-adds of dense attention.
local function pattern_of(o)
  local segments, rates, share = list_of("segments", o.segments), list_of("rates", o.rates), 0
  if #segments ~= #rates then fail("--segments %s and --rates %s: one for each", o.segments, o.rates) end
  if o.parallel ~= "rows" and o.parallel ~= "heads" then
    fail("--parallel: rows or heads, got '%s'", o.parallel)
  end
  for i, w in ipairs(segments) do share = share + math.min(w, o.rows) / rates[i] ^ 2 / o.rows end
  local parallel = o.parallel == "heads" and "heads" or nil
  return { "dilated", segments = segments, rates = rates, parallel = parallel }, share
end

--- This rank's rows of a random sequence, the same on any number of ranks.
local function draw_rows(comm, part, o)
  local positions = mosaic.tensor(part:positions(comm.rank), { dtype = "f64" }):view(1, -1, 1)
  local waves = mosaic.rand { o.num_heads, 1, o.head_size, dtype = "f64" }
  return (positions * waves):sin():mul(2):to("f32"):detach():requires_grad_()
end

--- Seconds and bytes sent by body(), and its result.
local function measured(comm, body)
  comm:barrier()
  comm:reset_counters()
  local start, sent = mosaic.clock(), 0
  local result = body()
  for _, counter in pairs(comm:counters()) do sent = sent + counter.bytes_sent end
  return result, mosaic.clock() - start, sent
end

--- A line per rank from its list of numbers, on rank 0.
local function report(comm, format, ...)
  local all = comm:all_gather(mosaic.tensor({ { ... } }, { dtype = "f64" }), 1)
  for rank = 0, comm.rank == 0 and comm.size - 1 or -1 do
    io.write(("rank %d: "):format(rank), format:format(unpack(all[rank + 1]:tolist())), "\n")
  end
end

local function main(o)
  local comm, strategy, share = mosaic.comm.world(), pattern_of(o)
  local layout = o.causal and "zigzag" or "contiguous"
  mosaic.manual_seed(1)
  local part = mosaic.partition.new { layout = layout, rows = o.rows, ranks = comm.size }
  local x = draw_rows(comm, part, o)
  if comm.rank == 0 then
    io.write(("%d rows, %d heads; %.2f %% of the work of dense attention\n"):format(o.rows, o.num_heads,
      100 * share))
  end
  mosaic.collect()
  mosaic.reset_peak_memory()
  local out, forward_time, forward_sent = measured(comm, function()
    return (mosaic.attend(x, x, x, { strategy = strategy, layout = layout, mask = { causal = o.causal } }))
  end)
  local loss = out:square():sum() / (o.rows * o.num_heads * o.head_size)
  local _, backward_time, backward_sent = measured(comm, function() loss:backward() end)
  local mean, square = mosaic.total(loss:item()), mosaic.total(x.grad:to("f64"):square():sum():item())
  report(comm, "%d rows; forward %.2f s, %.3f MB sent; backward %.2f s, %.3f MB sent; %.1f MB at most held",
    part:count(comm.rank), forward_time, forward_sent / 1e6, backward_time, backward_sent / 1e6,
    mosaic.memory().rank_peak_bytes / 1e6)
  if comm.rank == 0 then
    io.write(("loss %.6f, norm of the gradient %.6g\n"):format(mean, math.sqrt(square)))
  end
end

local o = options.parse("examples/dilated_long.lua", "Dilated attention over a long sequence.", OPTIONS, arg)
if o then main(o) end
