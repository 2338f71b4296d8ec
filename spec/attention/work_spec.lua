local mosaic = require "mosaic"
local dense = require "spec.support.dense"
local support = require "spec.support.attention"

local values, operands = support.values, support.operands

--- The counts of one forward and backward.
local function work_of(q, k, v, options)
  local before = mosaic.attention.work()
  support.run(q, k, v, options or {}, values(q.shape, 7, q.dtype))
  local after = mosaic.attention.work()
  for name in pairs(after) do after[name] = after[name] - before[name] end
  return after
end

--- How many pairs the truth sees.
local function pairs_of(q, k, options)
  local count = 0
  dense.each_score(q, k, options, function(_, _, added)
    for _, extra in ipairs(added) do count = count + (extra and 1 or 0) end
  end)
  return count
end

--- u8 (n, m): 1 where f(i, j), from 0.
local function keep(n, m, f)
  local list = {}
  for i = 0, n - 1 do
    for j = 0, m - 1 do list[#list + 1] = f(i, j) and 1 or 0 end
  end
  return mosaic.tensor(list, { dtype = "u8" }):view(n, m)
end

local function positions(count, f)
  local list = {}
  for i = 0, count - 1 do list[i + 1] = f(i) end
  return list
end

describe("the work of attention", function()
  local ids = positions(150, function(i) return math.floor(i / 40) end)

  it("is the number of pairs that masks let through", function()
    for _, dtype in ipairs { "f32", "f64" } do
      local q, k, v = operands({ 2, 4, 2, 37, 150, 4 }, dtype)
      local own = positions(37, function(i) return 4 * i + 1 end)
      for name, options in pairs {
        ["no mask"] = {}, causal = { mask = { causal = true } }, window = { mask = { window = { 3, 20 } } },
        nothing = { mask = { prefix = 0 } }, alibi = { mask = { alibi = { 1, 2, 3, 4 }, causal = true } },
        documents = { mask = { documents = { q = { unpack(ids, 30, 66) }, k = ids } } },
        keep = { mask = { causal = true, keep = keep(37, 150, function(i, j) return i * j % 7 > 2 end) } },
        ["keep per key"] = { mask = { keep = keep(1, 150, function(_, j) return j % 3 == 1 end) } },
        ["striped rows"] = { mask = { causal = true }, q_positions = own },
      } do
        local work, count = work_of(q, k, v, options), pairs_of(q, k, options)
        assert.equal(count, work.forward, name)
        assert.equal(count, work.backward, name)
        assert.is_true(work.forward_tiles >= count and work.backward_tiles >= count, name)
        assert.is_true(count > 0 or work.forward_tiles == 0, name)
      end
    end
  end)

  it("of many short problems is all their pairs", function()
    local q, k, v = operands({ 9, 2, 2, 6, 5, 7 }, "f32")
    local all = 9 * 2 * 6 * 5
    assert.same({ forward = all, backward = all, forward_tiles = all, backward_tiles = all },
      work_of(q, k, v))
  end)

  it("does not depend on the number of threads", function()
    local before = mosaic.threads()
    local q, k, v = operands({ 1, 1, 1, 1700, 900, 4 }, "f32")
    local found = {}
    for threads = 1, 3 do
      mosaic.set_threads(threads)
      found[threads] = work_of(q, k, v, { mask = { causal = true } })
      assert.same(found[1], found[threads])
    end
    mosaic.set_threads(before)
  end)

  it("costs what a sparse set keeps", function()
    local q, k, v = operands({ 1, 2, 1, 512, 512, 4 }, "f32")
    local function tiles(f)
      local work = work_of(q, k, v, { mask = { keep = keep(512, 512, f) } })
      return work.forward_tiles / work.forward, work.backward_tiles / work.backward
    end
    local function near(i, j) return math.abs(math.floor(i / 128) - math.floor(j / 128)) == 2 end
    local forward, backward = tiles(near)
    assert.is_true(forward < 1.6 and backward < 1.6)
    local none = work_of(q, k, v, { mask = { keep = keep(512, 512, function() return false end) } })
    assert.same({ forward = 0, backward = 0, forward_tiles = 0, backward_tiles = 0 }, none)
  end)

  it("skips what balanced layouts need not look at", function()
    local p, n = 4, 1024
    local q, k, v = operands({ 1, 1, 1, n, n, 4 }, "f32")
    local function zigzag(r)
      return positions(n, function(i)
        return i < n / 2 and r * n / 2 + i + 1 or (2 * p - 1 - r) * n / 2 + i - n / 2 + 1
      end)
    end
    local function striped(r) return positions(n, function(i) return i * p + r + 1 end) end
    for _, layout in ipairs { zigzag, striped } do
      local least, most
      for r = 0, p - 1 do
        local sum, tiles = 0, 0
        for owner = 0, p - 1 do
          local work = work_of(q, k, v, { mask = { causal = true }, q_positions = layout(r),
            k_positions = layout(owner) })
          sum, tiles = sum + work.forward, tiles + work.forward_tiles
        end
        least, most = math.min(least or sum, sum), math.max(most or sum, sum)
        assert.is_true(tiles < 1.1 * sum)
      end
      assert.is_true(most < 1.01 * least)
    end
  end)

  it("belongs to the rank, and starts again at 0", function()
    local q, k, v = operands({ 1, 1, 1, 4, 4, 2 }, "f32")
    local outside = mosaic.attention.work().forward
    local counts = {}
    mosaic.virtual(2, function(comm)
      for _ = 0, comm.rank do mosaic.sdpa(q, k, v) end
      comm:barrier()
      counts[comm.rank + 1] = mosaic.attention.work().forward
    end)
    assert.same({ 16, 32 }, counts)
    assert.equal(outside, mosaic.attention.work().forward)
    mosaic.sdpa(q, k, v)
    mosaic.attention.reset_work()
    assert.same({ forward = 0, backward = 0, forward_tiles = 0, backward_tiles = 0 },
      mosaic.attention.work())
  end)
end)
