local mosaic = require "mosaic"
local close = require "spec.support.close"
local dense = require "spec.support.dense"
local fill = require "spec.support.fill"
local kv_cache = require "spec.support.kv_cache"

local new_case, new_cache, step, decode = kv_cache.case, kv_cache.new, kv_cache.step, kv_cache.decode
local each_world, scrambled = kv_cache.each_world, kv_cache.scrambled

describe("KVCache", function()
  local causal = new_case(19, { mask = { causal = true } })

  it("decodes token by token as attention over the whole, after every layout of the prompt", function()
    each_world(function(comm)
      for _, layout in ipairs { "contiguous", "zigzag", "striped" } do
        decode(comm, causal, 11, { prompt = { layout = layout } })
      end
      decode(comm, causal, 11, { prompt = { indices = scrambled(11, comm.size) } })
      decode(comm, causal, 11)
      decode(comm, causal, 1)
      decode(comm, causal, 0)
    end)
  end)

  it("deals in turns of a block", function()
    each_world(function(comm)
      for _, block_size in ipairs { 1, 3 } do
        local cache = decode(comm, causal, 5, { cache = { layout = "striped", block_size = block_size } })
        local own = 0
        for i = 0, 18 do
          if math.floor(i / block_size) % comm.size == comm.rank then own = own + 1 end
        end
        assert.equal(own, cache:rows())
      end
    end)
  end)

  it("gives new rows to the ranks that have the fewest", function()
    local shares = mosaic.virtual(3, function(comm)
      local cache = new_cache(comm, causal)
      step(cache, causal, 8, { indices = { { 1, 2, 3, 4, 5 }, { 6 }, { 7, 8 } } })
      local rows = {}
      for i = 1, 8 do
        step(cache, causal, 1)
        rows[i] = cache:rows()
      end
      return rows
    end)
    assert.same({ 5, 5, 5, 5, 5, 5, 5, 6 }, shares[1])
    assert.same({ 2, 3, 3, 4, 4, 5, 5, 5 }, shares[2])
    assert.same({ 2, 2, 3, 3, 4, 4, 5, 5 }, shares[3])
  end)

  it("takes chunks of several tokens, grouped heads, windows, ALiBi and prefixes", function()
    for _, mask in ipairs {
      { causal = true, window = { 4, 0 } }, { causal = true, alibi = { 0.5, 0.25, 0.125, 1 } },
      { causal = true, prefix = 7 },
    } do
      local case = new_case(17, { mask = mask, heads = 4, kv_heads = 2, scale = 0.7 })
      each_world(function(comm)
        local cache = new_cache(comm, case)
        for _, count in ipairs { 6, 1, 4, 0, 3, 1, 2 } do step(cache, case, count, { layout = "zigzag" }) end
      end)
    end
  end)

  it("attends to all keys so far without a mask, and to fewer queries than were appended", function()
    each_world(function(comm)
      local k, v = fill({ 1, 1, 9, 3 }, { seed = 5 }), fill({ 1, 1, 9, 3 }, { seed = 6 })
      local q = fill { 1, 1, 2, 3 }
      local cache = mosaic.KVCache { comm = comm, kv_heads = 1, head_size = 3, dtype = "f64" }
      for _, range in ipairs { { 1, 4 }, { 5, 2 }, { 7, 3 } } do
        cache:append(k:narrow(3, unpack(range)), v:narrow(3, unpack(range)))
        local truth = dense.attention(q, k:narrow(3, 1, cache:len()), v:narrow(3, 1, cache:len()), {})
        local out, lse = cache:attend(q)
        close(out:flat(), truth.out)
        close(lse:flat(), truth.lse)
      end
    end)
  end)

  it("keeps documents apart", function()
    local ids = { { 1, 1, 1, 2, 2, 2, 2, 3, 3, 4, 4, 4, 4 }, { 7, 7, 7, 7, 7, 8, 8, 8, 8, 8, 8, 9, 9 } }
    ids = mosaic.tensor(ids, { dtype = "i64" })
    local case = new_case(13, { mask = { causal = true, documents = ids } })
    each_world(function(comm)
      local cache, at = new_cache(comm, case, { mask = { causal = true } }), 1
      for _, count in ipairs { 6, 1, 1, 3, 2 } do
        local part = ids:narrow(2, at, count)
        cache:append(case.k:narrow(3, at, count), case.v:narrow(3, at, count), { documents = part })
        local out = cache:attend(case.q:narrow(3, at, count), { documents = part })
        close(out, case.out:narrow(3, at, count))
        at = at + count
      end
    end)
  end)

  it("takes rows that are sharded already", function()
    each_world(function(comm)
      local function options(layout, indices)
        return { axis = 3, comm = comm, layout = layout, indices = indices }
      end
      for _, layout in ipairs { "contiguous", "zigzag", "striped", "indices" } do
        local cache, lists = new_cache(comm, causal), nil
        if layout == "indices" then lists = scrambled(10, comm.size) end
        local function share(x) return mosaic.shard(x:narrow(3, 1, 10), options(layout, lists)) end
        cache:append(share(causal.k), share(causal.v), { sharded = true, layout = layout, indices = lists })
        close(cache:attend(causal.q:narrow(3, 8, 3)), causal.out:narrow(3, 8, 3))
        step(cache, causal, 1)
        step(cache, causal, 2)
      end
    end)
  end)

  it("takes shards as mosaic.shard makes them", function()
    for _, layout in ipairs { "contiguous", "zigzag" } do
      mosaic.virtual(3, function()
        mosaic.init { layout = layout }
        local cache = new_cache(nil, causal)
        local function share(x) return mosaic.shard(x:narrow(3, 1, 12), { axis = 3 }) end
        cache:append(share(causal.k), share(causal.v), { sharded = true })
        close(cache:attend(causal.q:narrow(3, 8, 5)), causal.out:narrow(3, 8, 5))
        close((cache:attend(share(causal.q), { sharded = true })), share(causal.out))
      end)
    end
  end)

  it("computes a sharded prompt in chunks, by a ring over what the ranks hold", function()
    local ids = mosaic.tensor({ 1, 1, 1, 2, 2, 2, 2, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 5, 5 }, { dtype = "i64" })
    for _, mask in ipairs { { causal = true, window = { 6, 0 } }, { causal = true, documents = ids } } do
      local case = new_case(19, { mask = mask, heads = 4, kv_heads = 2 })
      each_world(function(comm)
        for _, layout in ipairs { "contiguous", "zigzag", "striped", "indices" } do
          local cache = new_cache(comm, case, { mask = { causal = true, window = mask.window } })
          for _, count in ipairs { 8, 5, 1, 4 } do
            local options = { comm = comm, layout = layout, axis = 1, indices = nil }
            if layout == "indices" then options.indices = scrambled(count, comm.size) end
            local first = cache:len() + 1
            local function share(x, axis)
              options.axis = axis
              return mosaic.shard(x:narrow(axis, first, count), options)
            end
            cache:append(share(case.k, 3), share(case.v, 3), {
              sharded = true, layout = layout, indices = options.indices,
              documents = mask.documents and share(ids, 1),
            })
            local out, lse = cache:attend(share(case.q, 3), { sharded = true })
            close(out, share(case.out, 3))
            close(lse, share(case.lse, 3))
          end
          local last = mask.documents and { documents = { 5 } } or nil
          cache:append(case.k:narrow(3, 19, 1), case.v:narrow(3, 19, 1), last)
          close(cache:attend(case.q:narrow(3, 19, 1), last), case.out:narrow(3, 19, 1))
        end
      end)
    end
  end)

  it("forgets what a speculation got wrong", function()
    local wrong = fill({ 2, 1, 9, 3 }, { seed = 77 })
    each_world(function(comm)
      for _, prompt in ipairs { { layout = "zigzag" }, { indices = scrambled(12, comm.size) } } do
        local cache = new_cache(comm, causal)
        step(cache, causal, 12, prompt)
        for _, keep in ipairs { 12, 9, 10, 2, 0 } do
          cache:append(wrong, wrong):truncate(keep)
          assert.equal(keep, cache:len())
          while cache:len() < keep + 2 do step(cache, causal, 1) end
          step(cache, causal, 3)
        end
      end
    end)
  end)

  it("is as exact in f32 and bf16 as attention on one rank", function()
    for dtype, bound in pairs { f32 = 1e-6, bf16 = 1e-5 } do
      local case = new_case(33, { mask = { causal = true }, d = 8, dtype = dtype })
      each_world(function(comm)
        local cache = decode(comm, case, 20, { prompt = { layout = "zigzag" }, bound = bound })
        assert.equal(dtype, cache.store:get("k").dtype)
      end)
    end
  end)

  it("returns the same bits on every rank", function()
    local case = new_case(40, { mask = { causal = true }, heads = 4, d = 24, dtype = "f32" })
    for _, size in ipairs(kv_cache.ranks) do
      local results = mosaic.virtual(size, function(comm)
        local cache = new_cache(comm, case)
        cache:append(case.k, case.v)
        local out, lse = cache:attend(case.q:narrow(3, 37, 4):transpose(1, 2):contiguous():transpose(1, 2))
        return { out:flat(), lse:flat() }
      end)
      for r = 2, size do assert.same(results[1], results[r]) end
    end
  end)
end)
