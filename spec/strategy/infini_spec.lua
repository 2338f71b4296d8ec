local close = require "spec.support.close"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"
local mosaic = require "mosaic"
local program = require "spec.support.program"

local CAUSAL = { causal = true }

local function operands(rows)
  return fill({ 2, 4, rows, 3 }, { seed = 1 }), fill({ 2, 2, rows, 3 }, { seed = 2 }),
    fill({ 2, 2, rows, 3 }, { seed = 3 })
end

--- The rank's rows with `counts` of them on the ranks.
local function cut(x, counts, rank)
  local first = 1
  for r = 1, rank do first = first + counts[r] end
  return x:narrow(-2, first, counts[rank + 1])
end

describe("the strategy infini", function()
  local beta = fill({ 4 }, { seed = 4 })

  it("is mosaic.infini_attention, forward and gradients, and sends what its volume says", function()
    local q, k, v = operands(26)
    for _, update in ipairs { "linear", "delta" } do
      local leaf = beta:clone():requires_grad_()
      local expected = mosaic.infini_attention(q, k, v, { segment = 4, update = update, beta = leaf })
      expected:sum():backward()
      for _, counts in ipairs { { 26 }, { 12, 14 }, { 9, 9, 8 }, { 0, 5, 0, 20, 1 } } do
        local parts = mosaic.virtual(#counts, function(comm)
          local own = beta:clone():requires_grad_()
          local wanted = mosaic.strategy.get { "infini", segment = 4, update = update, beta = own }
          local volume, body = nil, setmetatable({}, { __index = wanted.body })
          function body.attend(c, a, b, d, plan)
            volume = wanted.body.volume(plan, { batch = 2, heads = 4, kv_heads = 2, d = 3, bytes = 8,
              out_bytes = 8 })
            c:reset_counters()
            local out = wanted.body.attend(c, a, b, d, plan)
            assert.equal(volume, c:counters("sendrecv").bytes_sent + c:counters("all_to_all").bytes_sent)
            return out
          end
          local out = mosaic.attend(cut(q, counts, comm.rank), cut(k, counts, comm.rank),
            cut(v, counts, comm.rank), { comm = comm, mask = CAUSAL,
              strategy = { body = body, name = "infini", options = wanted.options, text = wanted.text } })
          out:sum():backward()
          return { out = comm:all_gather(out:detach(), -2, counts), dbeta = comm:all_reduce(own.grad) }
        end)
        close(parts[1].out, expected)
        close(parts[1].dbeta, leaf.grad)
      end
    end
  end)

  it("sends keys and values in another format, and computes with what the format holds", function()
    local q, k, v = operands(13)
    local counts = { 5, 8 }
    local strategy = { "infini", segment = 4, beta = beta }
    local function sent(format)
      local expected = mosaic.attend(q, k, v, { strategy = strategy, mask = CAUSAL, wire = format })
      return mosaic.virtual(2, function(comm)
        local function own(x) return cut(x, counts, comm.rank) end
        comm:reset_counters()
        local out = mosaic.attend(own(q), own(k), own(v),
          { strategy = strategy, comm = comm, mask = CAUSAL, wire = format })
        close(out, own(expected))
        return comm:counters("all_to_all").bytes_sent
      end)[2]
    end
    -- three rows of 2 batches go to rank 0 for the second segment: q of 4 heads, k and v of 2
    local whole, halves = sent(), sent "bf16"
    assert.equal(3 * 2 * (4 + 2 + 2) * 3 * 8, whole)
    assert.equal(3 * 2 * (2 + 2) * 3 * (8 - 2), whole - halves)
  end)

  it("is what verify expects of a strategy: errors, bytes, and beta 0 where none is given", function()
    for _, strategy in ipairs { { "infini", segment = 5, update = "delta" }, "infini" } do
      local found = mosaic.verify(strategy, { rows = 131, heads = 4, kv_heads = 2, head_size = 4 },
        { mask = "causal,alibi", layout = "contiguous", ranks = 3, dtypes = { "f64", "f32", "bf16" },
          quiet = true })
      assert.is_true(found.ok and found.bytes_ok)
    end
    local q, k, v = operands(9)
    local function run(zeros)
      return mosaic.attend(q, k, v, { strategy = { "infini", segment = 4, beta = zeros }, mask = CAUSAL })
    end
    close(run(nil), run(mosaic.zeros { 4, dtype = "f64" }))
  end)

  it("says that it is approximate, once", function()
    local path = program.script [[
      local mosaic = require "mosaic"
      local x = mosaic.ones { 1, 6, 2 }
      for _ = 1, 2 do
        mosaic.attend(x, x, x, { strategy = { "infini", segment = 2, beta = mosaic.zeros { 1 } },
          mask = { causal = true } })
      end]]
    local result = program("--virtual 2 " .. path)
    os.remove(path)
    assert.equal(0, result.status, result.err)
    local count = select(2, result.err:gsub("strategy 'infini' is approximate: what lies before", ""))
    assert.equal(1, count)
  end)

  it("refuses what it cannot do, with what would work", function()
    mosaic.virtual(2, function(comm)
      local q, k, v = operands(4)
      local function refuses(text, options, table)
        local strategy = { "infini", segment = 4, beta = beta }
        for name, value in pairs(table or {}) do strategy[name] = value end
        options.comm, options.strategy, options.mask = comm, strategy, options.mask or CAUSAL
        comm:reset_counters()
        fails(text, function() mosaic.attend(options.q or q, k, v, options) end)
        assert.same({ 0, 0 }, { comm:counters("sendrecv").calls, comm:counters("all_to_all").calls })
      end
      refuses('use layout = "contiguous"', { layout = "zigzag" })
      refuses('use layout = "contiguous"', { layout = "striped" })
      refuses("the mask must be: mask = { causal = true }", { mask = {} })
      refuses("mask.window has no meaning for a compressive memory; causal and alibi have",
        { mask = { causal = true, window = 2 } })
      refuses("infini: dropout has no meaning", { dropout = { p = 0.5, seed = 1 } })
      refuses("segment must be an integer of at least 1, got 0", {}, { segment = 0 })
      refuses("update \"none\" is not one of linear, delta", {}, { update = "none" })
      refuses("beta must be a tensor of 4 numbers, one a head, got f32 [3]", {}, { beta = mosaic.ones { 3 } })
      refuses("unknown option 'segmnt', did you mean 'segment'?", {}, { segmnt = 3 })
    end)
    local q, k, v = operands(6)
    fails("queries and keys must be the same rows, got {5} and {6} on the ranks", function()
      mosaic.attend(q:narrow(3, 1, 5), k, v,
        { strategy = { "infini", segment = 4, beta = beta }, mask = CAUSAL })
    end)
  end)
end)
