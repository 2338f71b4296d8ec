local mosaic = require "mosaic"
local bytes = require "spec.support.bytes"
local contract = require "spec.support.contract"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"
local odd_masks = require "spec.support.odd_masks"

describe("gather", function()
  contract(it, { "gather", slices = 2 }, {
    ranks = { 2, 3, 5 }, lengths = { 0, 13 }, heads = { { 6, 3 }, { 2, 2 } },
  })
  odd_masks(it, { "gather", slices = 2 }, { ranks = { 3 } })

  it("sends 2 (p-1) n Hkv d b in any number of slices", function()
    for _, slices in ipairs { 1, 2, 3 } do
      for _, ranks in ipairs { 1, 4, 6 } do
        for _, sent in ipairs(bytes({ "gather", slices = slices }, ranks, { 2, 6, 3, 24, 4 })) do
          assert.equal(2 * (ranks - 1) * 24 / ranks * 2 * 3 * 4 * 4, sent)
        end
      end
    end
  end)

  it("sends only keys that somebody sees, and predicts its bytes", function()
    -- 12 rows on 3 ranks, of which 6 are seen: 4, 2 and 0; f32, 2 heads of 4
    local sent = bytes("gather", 3, { 1, 2, 2, 12, 4 }, { mask = { prefix = 6 } })
    assert.same({ 2 * 2 * 4 * 32, 2 * 2 * 2 * 32, 0 }, sent)
    bytes("gather", 3, { 2, 4, 2, 13, 4 }, { layout = "striped", dtype = "bf16", wire = "int8" })
  end)

  it("holds all keys and values once, and keeps none until backward", function()
    local rows, ranks, heads, d = 4096, 4, 2, 8
    local block = rows / ranks * heads * d * 4
    mosaic.virtual(ranks, function(comm)
      local function part(seed)
        return mosaic.rand { heads, rows / ranks, d, generator = mosaic.generator(seed) }:requires_grad_()
      end
      local q, k, v = part(1), part(2), part(3)
      local before = mosaic.memory().rank_live_bytes
      mosaic.reset_peak_memory()
      local out, lse = mosaic.attend(q, k, v, { strategy = "gather", comm = comm })
      local peak = (mosaic.memory().rank_peak_bytes - before) / block -- k and v to send, out, all K/V
      assert.is_true(peak <= 1.1 * (2 + 1 + 2 * ranks), peak .. " blocks")
      mosaic.collect()
      local held = mosaic.memory().rank_live_bytes - before
      assert.is_true(held <= 1.2 * (block + heads * rows / ranks * 8), held / block .. " blocks")
      return out, lse
    end)
  end)

  it("refuses more slices than key/value heads", function()
    mosaic.virtual(2, function(comm)
      local q, k = fill { 4, 4, 4 }, fill { 2, 4, 4 }
      local function refuses(text, slices)
        fails(text, function()
          mosaic.attend(q, k, k, { strategy = { "gather", slices = slices }, comm = comm })
        end)
      end
      refuses("gather: 3 slices of 2 key/value heads; at most 2", 3)
      refuses("gather: slices must be an integer of at least 1, got 0", 0)
    end)
  end)
end)
