local mosaic = require "mosaic"
local fails = require "spec.support.fails"

describe("a number", function()
  it("is the same computed by the interpreter and by compiled code", function()
    local sin, floor = math.sin, math.floor
    local function fractions()
      local list = {}
      for i = 1, 1000 do
        local x = sin(i) * 43758.5453
        list[i] = x - floor(x)
      end
      return list
    end
    jit.off(fractions)
    local interpreted = fractions()
    jit.on(fractions)
    assert.same(interpreted, fractions())
  end)
end)

describe("memory", function()
  it("counts what tensors hold, and frees what is unreachable", function()
    mosaic.collect()
    local before = mosaic.memory().live_bytes
    local kept = mosaic.zeros { 1000, 1000 }
    assert.equal(before + 4000000, mosaic.memory().live_bytes)
    kept = kept:view(-1) -- the same storage
    assert.equal(before + 4000000, mosaic.memory().live_bytes)
    kept = kept and nil
    mosaic.collect()
    assert.equal(before, mosaic.memory().live_bytes)
    assert.is_nil(kept)
  end)

  it("is not kept by compiled code that uses it, where more is needed or after collect", function()
    local function compiled() -- a trace keeps the closure that it was compiled for
      local kept = mosaic.ones { 2 ^ 20 }
      local function use() return kept:size(1) end
      for _ = 1, 1000 do use() end
    end
    mosaic.collect()
    local before, limit = mosaic.memory().live_bytes, mosaic.memory().limit_bytes
    compiled()
    mosaic.set_memory_limit(before + 6 * 2 ^ 20)
    local ok, got = pcall(mosaic.zeros, { 2 ^ 20 })
    mosaic.set_memory_limit(limit)
    assert(ok, got)
    got:free()
    compiled()
    mosaic.collect()
    assert.equal(before, mosaic.memory().live_bytes)
  end)

  it("is bounded although Lua's collector sees none of it", function()
    mosaic.collect()
    mosaic.reset_peak_memory()
    for _ = 1, 500 do mosaic.empty { 2 ^ 20 } end -- 4 MiB each, dropped at once
    assert.is_true(mosaic.memory().peak_bytes < 400 * 2 ^ 20)
  end)

  it("says bytes asked for, in use and allowed when there is no more", function()
    local limit = mosaic.memory().limit_bytes
    mosaic.collect()
    local live = mosaic.memory().live_bytes
    mosaic.set_memory_limit(live + 1000)
    local ok, message = pcall(fails, ("asked for 1004 bytes, %d in use, limit %d"):format(live, live + 1000),
      function() mosaic.zeros { 251 } end)
    mosaic.set_memory_limit(limit)
    assert(ok, message)
  end)

  it("collects and tries again before it gives up", function()
    local limit = mosaic.memory().limit_bytes
    mosaic.collect()
    mosaic.set_memory_limit(mosaic.memory().live_bytes + 10 * 2 ^ 20)
    local ok = pcall(function()
      for _ = 1, 10 do mosaic.zeros { 2 ^ 20 } end -- 4 MiB each: three do not fit
    end)
    mosaic.set_memory_limit(limit)
    assert.is_true(ok)
  end)
end)

describe("threads", function()
  it("are counted and checked", function()
    local before = mosaic.threads()
    mosaic.set_threads(1)
    assert.equal(1, mosaic.threads())
    mosaic.set_threads(before)
    fails("set_threads: count must be an integer of at least 1, got 0", function() mosaic.set_threads(0) end)
  end)

  it("do not change results", function()
    local x = mosaic.randn { 300, 257 }
    local before, results = mosaic.threads(), {}
    for count = 1, 3 do
      mosaic.set_threads(count)
      results[count] = { x:sum():item(), (x:exp() * x):sum(1):flat(), x:matmul(x:t()):sum(2):flat() }
    end
    mosaic.set_threads(before)
    assert.same(results[1], results[2])
    assert.same(results[1], results[3])
  end)
end)
