local mosaic = require "mosaic"
local bytes = require "spec.support.bytes"
local close = require "spec.support.close"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"
local odd_masks = require "spec.support.odd_masks"

describe("switch", function()
  odd_masks(it, "switch", { ranks = { 2, 5 } }) -- batch 2 x 3: over the 3
  odd_masks(it, { "switch", axis = -5 }, { ranks = { 2, 3 } })

  it("sends (2 + 2/g) n E b (p-1)/p and lse", function()
    local batch, heads, kv_heads, rows, d = 8, 4, 2, 24, 4
    for _, ranks in ipairs { 1, 2, 4 } do
      local n = batch * rows / ranks
      local expected = (n * heads * (2 * d * 4 + 8) + 2 * n * kv_heads * d * 4) * (ranks - 1) / ranks
      for _, sent in ipairs(bytes("switch", ranks, { batch, heads, kv_heads, rows, d })) do
        assert.equal(expected, sent)
      end
    end
  end)

  it("sends to ranks with entries only, and predicts its bytes", function()
    -- 3 ranks, 2 entries, 3 rows each, one head of 4: the last has no entry and gets nothing
    local query, key, result = 16, 2 * 16, 16 + 8
    assert.same({ 3 * (query + key) + 6 * result, 3 * (query + key) + 6 * result, 6 * (query + key) },
      bytes("switch", 3, { 2, 1, 1, 9, 4 }))
    bytes("switch", 3, { 5, 4, 2, 13, 4 }, { layout = "zigzag", dtype = "bf16", wire = "bf16", key_rows = 7 })
    bytes("switch", 2, { 5, 2, 1, 8, 4 }, { mask = { prefix = 3, bias = mosaic.zeros { 5, 1, 4, 8 } } })
    bytes("switch", 2, { 5, 2, 1, 8, 4 }, { mask = { keep = mosaic.ones { 2, 1, 8, dtype = "u8" } } })
  end)

  it("takes the axis as a number from the start too, by default the longest", function()
    local x = fill { 3, 2, 1, 4, 4 }
    local expected = mosaic.sdpa(x, x, x)
    mosaic.virtual(2, function(comm)
      local options = { axis = 4, comm = comm }
      local part = mosaic.shard(x, options)
      local function sent(strategy)
        local before = comm:bytes_sent()
        local out = mosaic.attend(part, part, part, { strategy = strategy, comm = comm })
        local bytes_sent = comm:bytes_sent() - before
        close(mosaic.unshard(out, options), expected)
        return bytes_sent
      end
      local first, second = sent { "switch", axis = 1 }, sent { "switch", axis = -4 }
      assert.equal(first, sent "switch")
      assert.is_true(first ~= second) -- 3 entries on 2 ranks are uneven, 2 are not
    end)
  end)

  it("refuses operands without a batch axis, and other axes", function()
    mosaic.virtual(2, function(comm)
      local function refuses(text, shape, axis)
        local x = fill(shape)
        fails(text, function()
          mosaic.attend(x, x, x, { strategy = { "switch", axis = axis }, comm = comm })
        end)
      end
      refuses("switch: q with 2 heads has no batch axis to share out; 'heads' shares out heads", { 2, 4, 4 })
      refuses("switch: axis -3 is none of the 1 batch axes; -4 is", { 5, 2, 4, 4 }, -3)
      refuses("switch: axis 5 is out of range", { 5, 2, 4, 4 }, 5)
    end)
  end)
end)
