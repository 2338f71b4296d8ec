--- What a KVCache sends and holds, and what it refuses.
local mosaic = require "mosaic"
local fails = require "spec.support.fails"
local kv_cache = require "spec.support.kv_cache"

local each_world = kv_cache.each_world

describe("KVCache", function()
  --- Bytes that a rank of p sends to merge S bytes on every rank (the formula of everywhere.lua).
  local function merge_bytes(rank, p, S)
    local rounds = math.floor(math.log(p) / math.log(2) + 1e-9)
    local extra = p - 2 ^ rounds
    if rank >= 2 ^ rounds then return S end
    return rank < extra and (rounds + 1) * S or rounds * S
  end

  it("sends the result of the newest tokens, however many there are before", function()
    local heads, m, d = 4, 3, 5
    for _, size in ipairs(kv_cache.ranks) do
      mosaic.virtual(size, function(comm)
        local cache = mosaic.KVCache { comm = comm, kv_heads = 2, head_size = d }
        for _, rows in ipairs { 10, 200 } do
          cache:append(mosaic.randn { 1, 2, rows, d }, mosaic.randn { 1, 2, rows, d })
          comm:reset_counters()
          cache:attend(mosaic.randn { 1, heads, m, d })
          local S = heads * m * (4 * d + 8)
          assert.equal(merge_bytes(comm.rank, size, S), comm:counters("sendrecv").bytes_sent)
          assert.equal(size > 1 and 1 or 0, comm:counters("all_gather").calls) -- what they agree on
        end
      end)
    end
  end)

  it("holds N / p rows a rank, and makes room for at most twice as many", function()
    each_world(function(comm)
      local cache = mosaic.KVCache { comm = comm, kv_heads = 1, head_size = 2 }
      local row = mosaic.zeros { 1, 1, 1, 2 }
      for n = 1, 70 do
        cache:append(row, row)
        assert.is_true(cache:rows() - n / comm.size < 1 and n / comm.size - cache:rows() < 1)
        assert.is_true(cache.store.capacity <= math.max(1, 2 * cache:rows()))
      end
      local reserved = mosaic.KVCache { comm = comm, kv_heads = 1, head_size = 2, capacity = 70 }
      local before = reserved.store.tensors.k
      for _ = 1, 70 do reserved:append(row, row) end
      assert.equal(math.ceil(70 / comm.size), reserved.store.capacity)
      assert.equal(before, reserved.store.tensors.k)
      assert.equal(reserved, reserved:reserve(0))
    end)
  end)

  it("takes the memory of its rows, no more than twice", function()
    local rows, width = 1500, 2 * 16 * 4 -- bytes of a row of k, or of v
    each_world(function(comm)
      mosaic.collect()
      local before = mosaic.memory().rank_live_bytes
      local cache = mosaic.KVCache { comm = comm, kv_heads = 2, head_size = 16 }
      for _ = 1, rows / 50 do
        local k = mosaic.ones { 1, 2, 50, 16 }
        cache:append(k, k)
      end
      mosaic.collect()
      local held, least = mosaic.memory().rank_live_bytes - before, cache:rows() * (2 * width + 8)
      assert.is_true(held >= least and held <= 2 * least + 4096, ("%d bytes, not %d"):format(held, least))
    end)
  end)

  it("moves rows rarely while it grows", function()
    local cache = mosaic.KVCache { kv_heads = 1, head_size = 2 }
    local row, buffer, moves = mosaic.zeros { 1, 1, 1, 2 }, nil, 0
    for _ = 1, 1000 do
      cache:append(row, row)
      if cache.store.tensors.k ~= buffer then buffer, moves = cache.store.tensors.k, moves + 1 end
    end
    assert.equal(11, moves) -- 1, 2, 4, ... 1024
  end)

  --- Every rank must refuse, having sent nothing but what they agree on, and keep its rows.
  local function refuses(cache, text, call)
    cache.comm:reset_counters()
    local held, rows = cache:len(), cache:rows()
    fails(text, call)
    assert.same({ held, rows, 0 }, { cache:len(), cache:rows(), cache.comm:counters("sendrecv").calls })
  end

  it("refuses on every rank what one rank does wrong", function()
    mosaic.virtual(3, function(comm)
      local cache = mosaic.KVCache { comm = comm, kv_heads = 2, head_size = 4, batch = 1 }
      local first = comm.rank == 0
      local function kv(rows, heads, d, dtype)
        return mosaic.ones { 1, heads or 2, rows, d or 4, dtype = dtype }
      end
      local good = kv(6)
      cache:append(good, good)
      local function refuses_append(text, k, v, options)
        refuses(cache, text, function() cache:append(k, v or k, options) end)
      end
      refuses_append("rank 0 3, rank 1 2, rank 2 2", kv(first and 3 or 2))
      refuses_append("k is f32 [1,2,3,5], the cache has batch 1 and head size 4",
        kv(3, 2, first and 5 or 4), kv(3))
      refuses_append("k is f32 [1,3,2,4] and v is f32 [1,2,2,4], the cache has 2 key/value heads",
        kv(2, first and 3 or 2), kv(2))
      refuses_append("v is f64 [1,2,2,4], the cache holds f32: convert it with :to \"f32\"", kv(2),
        kv(2, 2, 4, first and "f64" or "f32"))
      refuses_append("v must be a tensor (batch, heads, rows, head size), got 7", kv(2), first and 7 or kv(2))
      refuses_append("rows: rank 0 sharded, rank 1 2, rank 2 2", kv(2), nil, { sharded = first })
      refuses_append("ranks disagree on layout: rank 0 zigzag, rank 1 fewest, rank 2 fewest", kv(2), nil,
        { layout = first and "zigzag" or nil })
      refuses_append("layout \"zigzig\" is not one of contiguous, zigzag, striped, indices", kv(2), nil,
        { layout = first and "zigzig" or nil })
      refuses_append("unknown option 'shardet', did you mean 'sharded'?", kv(2), nil, { shardet = true })
      refuses_append("the first row is to be number 5, but the cache holds 6", kv(2), nil,
        { first = first and 5 or 7 })
      refuses_append("the first row is to be number 8, but the cache holds 6", kv(2), nil, { first = 8 })
      refuses_append("index 1 belongs to rank 0 and rank 2", kv(2), nil, { indices = { { 1 }, {}, { 1 } } })
      refuses_append("index 2 belongs to no rank", kv(2), nil, { indices = { { 1 }, {}, {} } })
      refuses_append("rank 0 brings 2 rows, but layout 'zigzag' of 8 on 3 ranks gives it 3",
        kv(first and 2 or 3), nil, { sharded = true, layout = "zigzag" })
      refuses_append("rank 0 brings 1 rows, but layout 'striped' of 7 on 3 ranks gives it 3",
        kv(first and 1 or 3), nil, { sharded = true, layout = "striped" })
      refuses_append("documents are given, but the rows before have none", kv(2), nil,
        { documents = first and { 1, 1 } or nil })
      local wanting = kv(2):requires_grad_()
      refuses_append("k takes part in a gradient, which a cache does not carry back",
        first and wanting or kv(2))
      mosaic.no_grad(function() cache:append(wanting, wanting, { first = 7 }) end)
    end)
  end)

  it("refuses queries, truncations and options that do not fit, on every rank", function()
    mosaic.virtual(2, function(comm)
      local cache = mosaic.KVCache { comm = comm, kv_heads = 2, head_size = 4 }
      local first, row = comm.rank == 0, mosaic.ones { 1, 2, 5, 4 }
      cache:append(row, row, { documents = { 1, 1, 1, 2, 2 } })
      local function refuses_attend(text, q, options)
        refuses(cache, text, function() cache:attend(q, options) end)
      end
      local q, documents = mosaic.ones { 1, 4, 1, 4 }, { documents = { 2 } }
      refuses_attend("q is f32 [1,3,1,4], whose heads are not a multiple of 2 key/value heads",
        mosaic.ones { 1, first and 3 or 4, 1, 4 }, documents)
      refuses_attend("ranks disagree on q: rank 0 f32 [1,2,1,4], rank 1 f32 [1,4,1,4]",
        mosaic.ones { 1, first and 2 or 4, 1, 4 }, documents)
      refuses_attend("q has 6 rows, the cache holds 5", mosaic.ones { 1, 2, 6, 4 })
      refuses_attend("documents are missing, but the rows before have some", q)
      refuses_attend("documents must be i64 (1) or (1, 1), got i64 [1,2]", q, { documents = { 1, 2 } })
      refuses_attend("a strategy is for sharded queries", q, { documents = { 2 }, strategy = "ring" })
      refuses_attend("rank 0 sharded, rank 1 f32 [1,4,1,4]", first and mosaic.ones { 1, 4, 3, 4 } or q,
        { sharded = first, documents = not first and { 2 } or nil })
      refuses_attend("q has 2 rows, but this rank got 3 in the last append",
        mosaic.ones { 1, 4, 2, 4 }, { sharded = true })
      local share = mosaic.ones { 1, 4, first and 3 or 2, 4 }
      refuses_attend("sharded queries have the documents of their rows", share,
        { sharded = true, documents = { 1 } })
      refuses_attend("strategy \"rinf\" is not one of", share, { sharded = true, strategy = "rinf" })
      refuses(cache, "ranks disagree on stay: rank 0 3, rank 1 4",
        function() cache:truncate(first and 3 or 4) end)
      cache:truncate(4)
      refuses_attend("those of the last append, and there was none since", mosaic.ones { 1, 4, 2, 4 },
        { sharded = true })
      cache:append(row:narrow(3, 1, 1), row:narrow(3, 1, 1), { documents = { 2 } })
      refuses(cache, "6 tokens are to stay, the cache holds 5", function() cache:truncate(6) end)
      refuses(cache, "n must be an integer of at least 0, got -1", function() cache:truncate(-1) end)
      local function refuses_new(text, changes)
        local options = { comm = comm, kv_heads = 2, head_size = 4 }
        for name, value in pairs(changes) do options[name] = value end
        fails(text, function() mosaic.KVCache(options) end)
      end
      refuses_new("ranks disagree on kv_heads: rank 0 1, rank 1 2", { kv_heads = first and 1 or 2 })
      refuses_new("mask: rank 0 causal=true, rank 1 none", { mask = { causal = first or nil } })
      refuses_new("block_size is for layout 'striped', not 'fewest'", { block_size = 2 })
      refuses_new("layout \"zigzag\" is not one of fewest, striped", { layout = "zigzag" })
      refuses_new("documents come with the rows", { mask = { documents = { 1 } } })
      refuses_new("mask.keep u8 [1,5] has a column for every key",
        { mask = { keep = mosaic.ones { 1, 5, dtype = "u8" } } })
      refuses_new("dtype \"f31\" is not one of f32, f64, bf16, f16", { dtype = "f31" })
      refuses_new("scale must be a finite number, got inf", { scale = math.huge })
      refuses_new("unknown option 'heads'", { heads = 2 })
    end)
  end)
end)
