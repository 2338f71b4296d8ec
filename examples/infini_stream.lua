--- A long sequence through a layer of Infini-attention, twice: in pieces, of which only a state of constant
-- size is left behind, and as a whole. Both say the same; what they need at most differs:
--   mosaic-lua -n 2 examples/infini_stream.lua --rows 100000
package.path = (arg[0]:match "^(.*/)[^/]*$" or "") .. "?.lua;" .. package.path
local mosaic = require "mosaic"
local fail = require "support.fail"
local options = require "support.options"

local OPTIONS = {
  { "rows", 8192, "length of the sequence", integer = 1 },
  { "piece", 500, "rows of a piece, shared by the ranks", integer = 1 },
  { "segment", 64, "rows that attend to each other exactly", integer = 1 },
  { "update", "delta", "of the memory: linear or delta" },
  { "embed-dim", 64, "channels of the sequence", integer = 1 },
  { "num-heads", 4, "attention heads", integer = 1 },
  { "seed", 0, "of the sequence and the weights", integer = 0 },
}

--- Piece i of the sequence, (1, rows, embed_dim), from nothing but its row numbers, the same on every rank:
-- each channel is a wave of its own frequency.
local function piece(i, o)
  local first = (i - 1) * o.piece + 1
  local at = mosaic.arange(first, math.min(first + o.piece - 1, o.rows)):to("f64"):view(1, -1, 1)
  local frequencies = mosaic.rand { o.embed_dim, dtype = "f64", generator = mosaic.generator(o.seed) }
  return (at * frequencies):sin():to "f32"
end

local function share(x) return mosaic.shard(x, { axis = 2, layout = "contiguous" }) end
local function joined(x) return mosaic.unshard(x, { axis = 2, layout = "contiguous" }) end

--- The sum over all rows of row r's mean times sin r: a number that a wrong row would change.
local function summary(y, first)
  local weights = mosaic.arange(first, first + y:size(2) - 1):to("f64"):sin()
  return (y[1]:to("f64"):mean(-1) * weights):sum():item()
end

--- Piece after piece; keep(i, y) sees the result of each.
local function stream(layer, o, keep)
  local state = {}
  for i = 1, math.ceil(o.rows / o.piece) do
    local y, after = layer:forward(share(piece(i, o)), { state = state })
    state = after
    keep(i, joined(y))
    mosaic.collect() -- so that the peak is what is needed, not what has not been collected yet
  end
end

local function whole(layer, o)
  local pieces = {}
  for i = 1, math.ceil(o.rows / o.piece) do pieces[i] = piece(i, o) end
  return joined(layer(share(mosaic.cat(pieces, 2))))
end

--- The results of body(), the bytes that it needed at most besides what was there, and its seconds.
local function measured(body)
  mosaic.collect()
  mosaic.reset_peak_memory()
  local before, start = mosaic.memory().live_bytes, mosaic.clock()
  local result = body()
  return result, mosaic.memory().peak_bytes - before, mosaic.clock() - start
end

local function main(o)
  local first = mosaic.comm.world().rank == 0
  local function say(...)
    if first then io.write((...):format(select(2, ...))) end
  end
  local layer = mosaic.InfiniAttention {
    embed_dim = o.embed_dim, num_heads = o.num_heads, attention_axis = 2, segment = o.segment,
    update = o.update, generator = mosaic.generator(o.seed),
  }
  say("%d rows, segments of %d, %s update, %d ranks\n", o.rows, o.segment, o.update,
    mosaic.comm.world().size)
  local streamed, bytes, seconds = measured(function()
    local sum = 0
    stream(layer, o, function(i, y) sum = sum + summary(y, (i - 1) * o.piece + 1) end)
    return sum
  end)
  say("in pieces of %d: %.9g, peak %.2f MB, %.2f s\n", o.piece, streamed, bytes / 1e6, seconds)
  local y
  y, bytes, seconds = measured(function() return whole(layer, o) end)
  say("as a whole:  %.9g, peak %.2f MB, %.2f s\n", summary(y, 1), bytes / 1e6, seconds)
  local worst = 0
  stream(layer, o, function(i, part)
    local at = (i - 1) * o.piece + 1
    worst = math.max(worst, (part - y:narrow(2, at, part:size(2))):abs():amax():item())
  end)
  say("largest difference %.1e, of values up to %.2g\n", worst, y:abs():amax():item())
end

local o = options.parse("examples/infini_stream.lua",
  "Streams a sequence through Infini-attention and compares with the whole.", OPTIONS, arg)
if o then
  if o.update ~= "linear" and o.update ~= "delta" then
    fail("--update: linear or delta, got '%s'", o.update)
  end
  if o.embed_dim % o.num_heads ~= 0 then
    fail("--embed-dim: %d is not a multiple of %d heads", o.embed_dim, o.num_heads)
  end
  mosaic.no_grad(main, o)
end
