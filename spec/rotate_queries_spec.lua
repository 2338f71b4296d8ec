local mosaic = require "mosaic"
local bytes = require "spec.support.bytes"
local close = require "spec.support.close"
local cases = require "spec.support.contract_cases"
local contract = require "spec.support.contract"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"

--- The contract's masks without tensors for single queries.
local MASKS = {}
for name, make in pairs(cases.MASKS) do
  local mask = make(4, 2, 4)
  if not mask.bias and not mosaic.Tensor.is(mask.keep) then MASKS[name] = make end
end

describe("ring, queries passed", function()
  contract(it, { "ring", pass = "q" }, { masks = MASKS, ranks = { 1, 2, 3, 5, 8 }, lengths = { 0, 1, 13 } })
  contract(it, { "ring", pass = "auto" }, { ranks = { 3 }, lengths = { 6, 13 } })

  it("equals one rank where few queries cross to many keys", function()
    local q, k = fill { 2, 4, 5, 3 }, fill({ 2, 2, 40, 3 }, { seed = 1 })
    local v = fill({ 2, 2, 40, 3 }, { seed = 2 })
    local dout = fill({ 2, 4, 5, 3 }, { seed = 3 })
    local whole = { q:clone():requires_grad_(), k:clone():requires_grad_(), v:clone():requires_grad_() }
    local expected = mosaic.sdpa(unpack(whole))
    expected:backward(dout)
    for _, ranks in ipairs { 2, 3, 7 } do
      mosaic.virtual(ranks, function(comm)
        local options = { axis = -2, comm = comm }
        local function part(x) return mosaic.shard(x, options):detach():requires_grad_() end
        local own = { part(q), part(k), part(v) }
        local strategy = { "ring", pass = "auto" }
        local out = mosaic.attend(own[1], own[2], own[3], { strategy = strategy, comm = comm })
        close(mosaic.unshard(out:detach(), options), expected)
        out:backward(mosaic.shard(dout, options))
        for i, x in ipairs(own) do close(mosaic.unshard(x.grad, options), whole[i].grad) end
      end)
    end
  end)

  it("sends (p-1) n H (d b + d out + 8), or what keys need where that is less", function()
    local ranks, heads, kv_heads, d, dtype = 4, 4, 2, 8, "bf16"
    local function sent(pass, rows, key_rows)
      local list = bytes({ "ring", pass = pass }, ranks, { 1, heads, kv_heads, rows, d },
        { key_rows = key_rows, dtype = dtype })
      for _, own in ipairs(list) do assert.equal(list[1], own) end
      return list[1]
    end
    local by_queries = (ranks - 1) * 8 / ranks * heads * (2 * d + 4 * d + 8)
    local by_keys = (ranks - 1) * 64 / ranks * 2 * kv_heads * d * 2
    assert.equal(by_queries, sent("q", 8, 64))
    assert.equal(by_keys, sent("kv", 8, 64))
    assert.equal(by_queries, sent("auto", 8, 64))
    assert.equal(sent("kv", 64, 8), sent("auto", 64, 8))
  end)

  it("sends queries no further than they see", function()
    -- causal, 3 ranks, contiguous: rank 1's go 1 -> 2 -> 0, where they see keys, rank 2's 2 -> 0 -> 1, where
    -- they see keys twice; a result goes on or home from where it was found
    local query, result, n = 2 * 4 * 4, 2 * (4 * 4 + 8), 4
    local sent = bytes({ "ring", pass = "q" }, 3, { 1, 2, 2, 12, 4 }, { mask = { causal = true } })
    assert.same({ n * (query + 2 * result), n * (query + result), n * 2 * query }, sent)
    bytes({ "ring", pass = "q" }, 5, { 2, 2, 2, 23, 4 }, { mask = { causal = true, window = { 6, 0 } } })
  end)

  it("refuses what it cannot do, and takes keys instead with auto", function()
    mosaic.virtual(2, function(comm)
      local x = fill { 2, 4, 4 }
      local function attend(strategy, mask)
        return mosaic.attend(x, x, x, { strategy = strategy, comm = comm, mask = mask })
      end
      local bias = { bias = mosaic.zeros { 4, 8 } }
      fails("ring: the tensor mask.bias does not go with pass = 'q'; pass = 'kv' or", function()
        attend({ "ring", pass = "q" }, bias)
      end)
      fails("ring: directions = 2 does not go with pass = 'q'", function()
        attend { "ring", pass = "q", directions = 2 }
      end)
      fails('ring: pass "k" is not one of kv, q, auto', function() attend { "ring", pass = "k" } end)
      close(attend({ "ring", pass = "auto" }, bias), attend("ring", bias))
    end)
  end)
end)
