--- What strategy "dilated" costs: pairs, bytes and memory.
local mosaic = require "mosaic"
local bytes = require "spec.support.bytes"
local dilated = require "spec.support.dilated"
local fill = require "spec.support.fill"
local heap = require "mosaic.heap"
local C = require "mosaic.ffi"
local runtime = require "mosaic.runtime"

--- What a pass over q, k and v of 8192 rows holds at most, in bytes, by rank.
local function peaks(ranks, layout, backward)
  local pattern = dilated.strategy { segments = { 128, 2048, 8192 }, rates = { 1, 4, 8 } }
  return mosaic.virtual(ranks, function(comm)
    local function part() return mosaic.randn { 1, 8, 8192 / ranks, 16, requires_grad = backward } end
    local q, k, v = part(), part(), part()
    local options = { strategy = pattern, comm = comm, layout = layout }
    mosaic.no_grad(mosaic.attend, q, k, v, options)
    comm:barrier()
    runtime.collect()
    runtime.reset_peak_memory()
    local out = mosaic.attend(q, k, v, options)
    if backward then out:backward(out:detach()) end
    return runtime.memory().rank_peak_bytes
  end)
end

--- What the rank that holds most holds. Garbage that Lua has yet to collect counts as held: so here it is
-- collected at every MiB, and nothing is compiled: a frame that waits in compiled code may have places with
-- what was there before.
local function most_held(...)
  local poll, limit = heap.poll, 0
  jit.off()
  function heap.poll()
    if C.mosaic_memory_live() < limit then return end
    heap.collect()
    limit = C.mosaic_memory_live() + 2 ^ 20
  end
  local ok, list = pcall(peaks, ...)
  jit.on()
  heap.poll = poll
  return ok and math.max(unpack(list)) or error(list, 0)
end

describe("dilated", function()
  it("works on N H sum w/r^2 pairs and no more", function()
    local n, heads, pattern = 64, 4, { segments = { 16, 32, 64 }, rates = { 1, 2, 4 } }
    local expected = 0
    for i, w in ipairs(pattern.segments) do expected = expected + n * heads * w / pattern.rates[i] ^ 2 end
    assert.equal(expected, dilated.pairs(pattern, heads, n))
    for _, layout in ipairs { "contiguous", "striped" } do
      local worked = 0
      mosaic.virtual(3, function(comm)
        local x = mosaic.shard(fill { heads, n, 2 }, { axis = 2, comm = comm, layout = layout })
        mosaic.attention.reset_work()
        mosaic.attend(x, x, x, { strategy = dilated.strategy(pattern), comm = comm, layout = layout })
        worked = worked + mosaic.attention.work().forward
      end)
      assert.equal(expected, worked)
    end
  end)

  it("sends only selected rows, as many bytes as it says, whatever the length", function()
    local row = 2 * 4 * 8 * 4 -- a row of K and V: 4 heads of 8 floats
    for _, rows in ipairs { 64, 128, 256 } do
      local own = rows / 4
      local function sent(pattern, mask)
        return bytes(dilated.strategy(pattern), 4, { 1, 4, 4, rows, 8 }, { mask = mask })
      end
      assert.same({ 0, 0, 0, 0 }, sent { segments = { 8, 16 }, rates = { 1, 2 } })
      -- two ranks a segment: each gets the other's half of w/r rows; under a causal mask only the later one
      local half, pair = own / 4 * row, { segments = { 4, 2 * own }, rates = { 1, 4 } }
      assert.same({ half, half, half, half }, sent(pair))
      assert.same({ half, 0, half, 0 }, sent(pair, { causal = true }))
    end
    for _, rows in ipairs { 96, 192, 384 } do -- n = 24 and more, segments of 36 are not aligned
      local received = 2 * (36 / 4) * 4 * 8 * 4
      local pattern, total = dilated.strategy { segments = { 36 }, rates = { 4 } }, 0
      local list = bytes(pattern, 4, { 1, 4, 4, rows, 8 })
      for _, count in ipairs(list) do total = total + count end
      assert.is_true(total <= 4 * 2 * received, total) -- a rank has the ends of two segments
    end
  end)

  it("sends what it says under every layout, mask, wire, and with heads that share keys", function()
    local pattern = dilated.strategy { segments = { 6, 17, 40 }, rates = { 1, 2, 3 } }
    for n, layout in ipairs { "contiguous", "zigzag", "striped" } do
      for _, heads in ipairs { { 4, 4 }, { 6, 3 }, { 12, 6 } } do
        for _, mask in ipairs { {}, { causal = true }, { prefix = 11 }, { window = 4 } } do
          bytes(pattern, n + 1, { 2, heads[1], heads[2], 37, 4 }, { mask = mask, layout = layout })
        end
      end
      bytes(pattern, 3, { 1, 4, 2, 37, 4 }, { layout = layout, wire = "int8" })
      pattern.parallel = n == 3 and "heads" or nil
    end
  end)

  it("holds half as much on two ranks, and never more, under every layout", function()
    for _, backward in ipairs { false, true } do
      local alone = most_held(1, "contiguous", backward)
      for _, layout in ipairs { "contiguous", "zigzag", "striped" } do
        for ranks = 2, 4, 2 do
          local held = most_held(ranks, layout, backward)
          assert.is_true(held < 1.25 * alone / ranks + 0.1 * alone,
            ("%s, %d ranks: %d of %d bytes"):format(layout, ranks, held, alone))
        end
      end
    end
  end)
end)
