local mosaic = require "mosaic"
local close = require "spec.support.close"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"
local refuser = require "spec.support.refuser"

describe("attend", function()
  it("takes queries and keys of different lengths", function()
    local q, k, v = fill { 2, 11, 3 }, fill({ 2, 5, 3 }, { seed = 1 }), fill({ 2, 5, 3 }, { seed = 2 })
    local expected = mosaic.sdpa(q, k, v)
    mosaic.virtual(3, function(comm)
      local options = { axis = -2, comm = comm }
      local function part(x) return mosaic.shard(x, options) end
      local out = mosaic.attend(part(q), part(k), part(v), { strategy = "ring", comm = comm })
      close(mosaic.unshard(out, options), expected)
    end)
  end)

  it("takes any uneven contiguous shards", function()
    local x, counts = fill { 1, 9, 2 }, { 5, 0, 4 }
    local expected = mosaic.sdpa(x, x, x, { mask = { causal = true } })
    mosaic.virtual(3, function(comm)
      local first = ({ 1, 6, 6 })[comm.rank + 1]
      local part = x:narrow(2, first, counts[comm.rank + 1])
      local out = mosaic.attend(part, part, part, { comm = comm, mask = { causal = true } })
      close(out, expected:narrow(2, first, counts[comm.rank + 1]))
    end)
  end)

  it("says what does not fit with the shapes that were given, one rank or several", function()
    local q, k = mosaic.zeros { 1, 2, 8, 4 }, mosaic.zeros { 1, 2, 8, 5 }
    fails("attention: k f32 [1,2,8,5] and v f32 [1,2,8,4] must have the same sizes",
      function() mosaic.attend(q, k, q, { strategy = "ring" }) end)
    mosaic.virtual(2, function(comm)
      fails("attention: k f32 [1,2,8,5] does not fit q f32 [1,2,8,4]",
        function() mosaic.attend(q, k, k, { comm = comm }) end)
      fails("attention: bias f32 [3,8,16] does not broadcast to f32 [1,1,2,8,16]",
        function() mosaic.attend(q, q, q, { comm = comm, mask = { bias = mosaic.zeros { 3, 8, 16 } } }) end)
    end)
  end)

  it("sends nothing but the prefix, and no more than p - 1 blocks", function()
    local rows, heads, d, ranks = 12, 2, 4, 4
    local block = heads * (rows / ranks) * d * 8
    local function bytes_sent(mask)
      local sent = mosaic.virtual(ranks, function(comm)
        local x = mosaic.shard(fill { heads, rows, d }, { axis = 2, comm = comm })
        comm:reset_counters()
        mosaic.attend(x, x, x, { strategy = "ring", comm = comm, mask = mask })
        return comm:counters("sendrecv").bytes_sent
      end)
      local total = 0
      for _, bytes in ipairs(sent) do total = total + bytes end
      return total
    end
    assert.equal(ranks * (ranks - 1) * 2 * block, bytes_sent {})
    -- under a window each rank's block is sent to the next one, but not further, by a function as well
    local window = bytes_sent { window = { 3, 0 } }
    assert.is_true(window < bytes_sent { causal = true })
    assert.equal(window, bytes_sent { keep = function(_, _, i, j) return j <= i and i - j <= 3 end })
    assert.equal(window, bytes_sent {
      score = function(s, _, _, i, j) return (j > i or i - j > 3) and -math.huge or s end,
    })
    -- 4 of 12 keys: rank 0's whole block and a third of rank 1's, each sent on 3 times
    assert.equal(3 * 2 * (block + block / 3), bytes_sent { prefix = 4 })
  end)

  it("refuses on every rank, with both values, what the ranks do not agree on", function()
    mosaic.virtual(2, function(comm)
      local x, first = fill { 2, 4, 4 }, comm.rank == 0
      local refuses = refuser(comm, x)
      refuses("ranks disagree on mask: rank 0 causal=true, rank 1 none", { mask = { causal = first or nil } })
      refuses("ranks disagree on mask: rank 0 window={1, 2}, rank 1 window={2, 2}",
        { mask = { window = { first and 1 or 2, 2 } } })
      local reach, slopes = first and 1 or 2, { 1, first and 2 or 3 }
      refuses("ranks disagree on mask: rank 0 keep=function {#6 = sub(i, j); #7 = le(#6, 1)} ",
        { mask = { keep = function(_, _, i, j) return i - j <= reach end } })
      refuses("ranks disagree on mask: rank 0 score=function {", -- the same steps, another table
        { mask = { score = function(s, _, h) return s + slopes[h] end } })
      refuses("ranks disagree on mask: rank 0 alibi={1, 2}, rank 1 alibi={1, 3}",
        { mask = { alibi = { 1, first and 2 or 3 } } })
      refuses("ranks disagree on layout: rank 0 zigzag, rank 1 striped",
        { layout = first and "zigzag" or "striped" })
      refuses("ranks disagree on scale: rank 0 1, rank 1 2", { scale = first and 1 or 2 })
      refuses("ranks disagree on place: rank 0 head_from=1 batch_from={1, 2} batch_total=own, rank 1",
        { head_from = first and 1 or 3, batch_from = { 2 } })
      refuses("ranks disagree on dropout: rank 0 ", { dropout = { p = 0.5, seed = first and 1 or 2 } })
      refuses("ranks disagree on k_indices: rank 0 ", { indices = first and { { 1, 2, 3, 4 }, { 5, 6, 7, 8 } }
        or { { 5, 6, 7, 8 }, { 1, 2, 3, 4 } } })
      refuses("rank 1: attend: mask.causal must be true or false",
        { mask = { causal = first or "yes" } })
      refuses("attend: mask.keep u8 [3,8] is not for 4 queries",
        { mask = { keep = mosaic.ones { 3, 8, dtype = "u8" } } })
      refuses("attend: mask.bias f32 [4,4] is not for the 8 keys of all ranks",
        { mask = { bias = mosaic.zeros { 4, 4 } } })
      refuses("mask.documents has ids for 3 queries and 3 keys, the rows are 4 and 4",
        { mask = { documents = { 1, 1, 2 } } })
    end)
  end)

  it("sees differences that are small, far down in a list, or only in a table or a tensor", function()
    mosaic.virtual(2, function(comm)
      local x, first = fill { 2, 4, 4 }, comm.rank == 0
      local refuses = refuser(comm, x)
      local hidden, close_by = { -math.huge, first and 1 or 2 }, { 1, first and 1 or 1 + 2 ^ -50 }
      refuses("ranks disagree on mask", { mask = { score = function(s, _, h) return s + hidden[h] end } })
      refuses("ranks disagree on mask", { mask = { score = function(s, _, h) return s + close_by[h] end } })
      local a, b = { { 1, 2, 3, 4 }, { 5, 6, 7, 8 } }, { { 5, 6, 7, 8 }, { 1, 2, 3, 4 } }
      refuses("k_indices: ", { indices = { q = first and a or b, k = first and b or a } }) -- the same sum
      local beta = mosaic.tensor { 0, first and 0.5 or 0.25 }
      refuses("ranks disagree on strategy", { strategy = { "infini", segment = 2, beta = beta },
        mask = { causal = true } })
      refuses("ranks disagree on strategy: rank 0 mesh2d{mesh_shape={2, 1}}", {
        strategy = { "mesh2d", mesh_shape = first and { 2, 1 } or { 1, 2 } },
      })
      local ids = mosaic.tensor({ 1, 1, 2, 2 }, { dtype = "i64" })
      local in_batch = mosaic.ones({ 1, 4, dtype = "i64" })
      refuses("mask: rank 0 documents={q: i64 [n], k: i64 [n]}, rank 1 documents={q: i64 [n], k: i64 [1,n]}",
        { mask = { documents = { q = ids, k = first and ids:clone() or in_batch } } })
      refuses("mask: rank 0 documents=i64 [n], rank 1 documents={q: i64 [n], k: i64 [n]}",
        { mask = { documents = { q = ids, k = first and ids or ids:clone() } } })
    end)
  end)

  it("refuses on every rank keys without values", function()
    local x, short = fill { 2, 4, 4 }, fill { 2, 3, 4 }
    local message = "attend: k has 4 rows, v has 3: every key needs its value"
    fails(message, function() mosaic.attend(x, x, short) end)
    mosaic.virtual(2, function(comm)
      for _, text in ipairs { "ring", "gather", "heads" } do
        comm:reset_counters()
        fails("rank 1: " .. message, function()
          mosaic.attend(x, x, comm.rank == 0 and x or short, { strategy = text, comm = comm })
        end)
        assert.equal(0, comm:counters("sendrecv").calls)
        assert.equal(0, comm:counters("all_to_all").calls)
      end
    end)
  end)

  it("refuses ranks of which only some record a gradient", function()
    mosaic.virtual(2, function(comm)
      local x = fill({ 2, 4, 4 }, { requires_grad = true })
      fails("ranks disagree on recording: rank 0 true, rank 1 false", function()
        mosaic.autograd.with_recording(comm.rank == 0, mosaic.attend, x, x, x, { comm = comm })
      end)
    end)
  end)

  it("takes documents as lists, and a function as strategy", function()
    mosaic.virtual(2, function(comm)
      local x = fill { 2, 4, 4 }
      local ring = mosaic.strategy.get("ring").body.attend
      local options = { comm = comm, mask = { documents = { 1, 1, 2, 2 } } }
      local named = mosaic.attend(x, x, x, options)
      options.strategy = function(...) return ring(...) end
      close(mosaic.attend(x, x, x, options), named)
    end)
  end)

  it("needs nobody with the local strategy", function()
    mosaic.virtual(2, function(comm)
      local x = fill { 2, 4, 4 }
      local whole = mosaic.sdpa(x, x, x)
      for _, wanted in ipairs { "local", { "local" }, mosaic.strategy.get "local" } do
        if comm.rank == 0 then close(mosaic.attend(x, x, x, { strategy = wanted }), whole) end
        fails("attend: strategy 'local' attends to one rank's rows, comm has 2 ranks: name a strategy",
          function() mosaic.attend(x, x, x, { strategy = wanted, comm = comm }) end)
        close(mosaic.attend(x, x, x, { strategy = wanted, comm = mosaic.comm.alone() }), whole)
      end
    end)
  end)

  it("refuses shards that the layout does not give", function()
    mosaic.virtual(2, function(comm)
      local x = fill { 2, comm.rank == 0 and 1 or 4, 4 }
      fails("queries: rank 0 brings 1, but layout 'striped' of 5 rows on 2 ranks gives it 3", function()
        mosaic.attend(x, x, x, { comm = comm, layout = "striped" })
      end)
    end)
  end)

  it("runs a strategy that a script defines", function()
    mosaic.strategy.define("gather all", function(comm, q, k, v, plan)
      local out, lse
      local keys, values = comm:all_gather(k, -2), comm:all_gather(v, -2)
      local first = 1
      for owner = 0, comm.size - 1 do
        local count = plan.keys:count(owner)
        local o, l = mosaic.sdpa(q, keys:narrow(-2, first, count), values:narrow(-2, first, count),
          plan:block(owner))
        if out then out, lse = mosaic.merge(out, lse, o, l) else out, lse = o, l end
        first = first + count
      end
      return out, lse
    end)
    require "spec.support.contract"(function(_, body) body() end, "gather all",
      { ranks = { 1, 3 }, lengths = { 7 } })
  end)
end)
