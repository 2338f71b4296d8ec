local mosaic = require "mosaic"
local support = require "spec.support.attention"

local values, operands, expect_accurate = support.values, support.operands, support.expect_accurate

--- Kernels for short axes take 4, 8 or 16 problems at a time, sum 3 or 6 rows in registers, and read four
-- channels at once.
local function accurate(sizes, options, dtype)
  local q, k, v = operands(sizes, dtype or "f32")
  expect_accurate(q, k, v, options, (" for b,h,kv,nq,nk,d = %s"):format(table.concat(sizes, ",")))
end

--- A view of x (b, n, heads, d) as (b, heads, n, d), as models have it.
local function heads_of(x) return x:permute(1, 3, 2, 4) end

describe("attention over a short axis of many problems", function()
  it("has at most twice the error of a plain implementation: lengths", function()
    for n = 2, 32 do
      accurate { 17, 1, 1, n, n, 4 }
      accurate { 16, 1, 1, n, n % 6 + 2, 8 }
      accurate { 16, 1, 1, n % 5 + 1, n, 8 }
    end
    accurate { 16, 1, 1, 3, 128, 8 }
    accurate { 16, 1, 1, 3, 129, 8 }
  end)

  it("... head sizes", function()
    for d = 1, 50 do accurate { 18, 1, 1, 3, 4, d } end
    for _, d in ipairs { 64, 100, 128, 256 } do accurate { 18, 1, 1, 3, 4, d } end
  end)

  it("... numbers of problems", function()
    for count = 4, 35 do accurate { count, 1, 1, 2, 3, 8 } end
    for heads = 1, 7 do accurate { 5, heads, heads, 3, 2, 4 } end
  end)

  it("... heads that share keys", function()
    for _, group in ipairs { 2, 3, 7 } do
      accurate { 17, group, 1, 2, 5, 8 }
      accurate { 6, 3 * group, 3, 3, 4, 24 }
    end
  end)

  it("... halves of any size", function()
    for _, dtype in ipairs { "bf16", "f16" } do
      for _, d in ipairs { 3, 4, 8, 16, 20, 24, 40 } do accurate({ 9, 4, 2, 3, 5, d }, {}, dtype) end
    end
  end)

  it("... scales, and scores of hundreds", function()
    for _, scale in ipairs { 0, -0.7, 1.5 } do accurate({ 17, 2, 1, 5, 5, 8 }, { scale = scale }) end
    local q, k, v = operands({ 17, 2, 2, 5, 5, 8 }, "f32", 200)
    expect_accurate(q, k, v)
  end)

  it("... views of a projection, and rows in any order", function()
    for _, dtype in ipairs { "f32", "bf16" } do
      local x = values({ 9, 5, 3 * 4, 24 }, 1, dtype)
      expect_accurate(heads_of(x:narrow(3, 1, 4)), heads_of(x:narrow(3, 5, 4)), heads_of(x:narrow(3, 9, 4)))
      local columns = values({ 24, 9, 4, 5 }, 2, dtype):permute(2, 3, 4, 1)
      expect_accurate(columns, heads_of(x:narrow(3, 5, 4)), columns)
      expect_accurate(x:narrow(3, 1, 4):permute(1, 3, 2, 4):slice(4, 1, 24, 3), columns:slice(4, 1, 24, 3),
        columns:slice(4, 1, 24, 3))
    end
    local q = values({ 1, 1, 5, 6 }, 1, "f32"):expand(20, 3, 5, 6)
    expect_accurate(q, q, values({ 20, 3, 5, 6 }, 2, "f32"))
  end)

  it("adds gradients to what is there, wherever it lies", function()
    local q, k, v = operands({ 9, 4, 2, 5, 6, 10 }, "f32")
    local dout = values(q.shape, 7, "f32")
    local fresh = support.run(q, k, v, {}, dout)
    local delta = mosaic.attention.delta(dout, fresh.out)
    for _, order in ipairs { { 1, 2, 3, 4 }, { 4, 2, 1, 3 } } do
      local back = {}
      for i, axis in ipairs(order) do back[axis] = i end
      local function laid_out(t) return t:permute(unpack(order)):contiguous():permute(unpack(back)) end
      local into = {}
      for i, x in ipairs { q, k, v } do into[i] = laid_out(x:clone()) end
      mosaic.attention.backward(dout, fresh.lse, delta, q, k, v, { into = into })
      for i, x in ipairs { q, k, v } do
        local gradient = fresh[({ "dq", "dk", "dv" })[i]]
        assert.same((gradient + x):flat(), into[i]:flat())
      end
    end
  end)

  it("writes nothing beside its results", function()
    for _, d in ipairs { 5, 24 } do
      local q, k, v = operands({ 9, 2, 2, 5, 4, d }, "f32")
      local whole = mosaic.zeros { 9, 2, 7, d + 3 } + 7
      local out = whole:narrow(3, 2, 5):narrow(4, 3, d)
      mosaic.attention.forward(q, k, v, { out = out })
      assert.same((mosaic.sdpa(q, k, v)):flat(), out:flat())
      out:fill_(7)
      assert.same((mosaic.zeros(whole.shape) + 7):flat(), whole:flat())
    end
  end)

  it("streams results that no cache holds: the same bits", function()
    local repeats, shape = 1900, { 23, 2, 4, 24 }
    local function many(t) return t:view(1, unpack(t.shape)):expand(repeats, unpack(t.shape)) end
    local q, k, v = operands({ 23, 2, 2, 4, 4, 24 }, "f32")
    local dout = values(q.shape, 7, "f32")
    local few = support.run(q, k, v, {}, dout)
    local delta = mosaic.attention.delta(dout, few.out)
    local function expect_repeated(name, result)
      assert.same({ repeats, unpack(shape) }, result.shape)
      assert.equal(0, (result - many(few[name])):abs():max():item(), name)
    end
    local function room() return mosaic.empty { repeats, unpack(shape) } end
    -- 34 MB each, of which backward has three
    local places = { room(), room(), room() }
    mosaic.attention.backward(many(dout), many(few.lse), many(delta), many(q), many(k), many(v),
      { places = places })
    for i, name in ipairs { "dq", "dk", "dv" } do expect_repeated(name, places[i]) end
    repeats = 3900
    expect_repeated("out", (mosaic.attention.forward(many(q), many(k), many(v), { out = room() })))
  end)

  --- The results of problems (batch entries) from..to, as lists.
  local function part_of(results, from, to)
    local part = {}
    for name, t in pairs(results) do part[name] = t:slice(1, from, to):flat() end
    return part
  end

  it("keeps problems apart: NaN and infinities stay in their own", function()
    local q, k, v = operands({ 35, 2, 1, 5, 6, 8 }, "f32")
    local dout = values(q.shape, 7, "f32")
    local clean = support.run(q, k, v, {}, dout)
    for _, bad in ipairs { 0 / 0, 1 / 0, -1 / 0 } do
      for _, name in ipairs { "q", "k", "v", "dout" } do
        local x = { q = q, k = k, v = v, dout = dout }
        x[name] = x[name]:clone()
        x[name]:narrow(1, 18, 1):fill_(bad)
        local found = support.run(x.q, x.k, x.v, {}, x.dout)
        assert.same(part_of(clean, 1, 17), part_of(found, 1, 17))
        assert.same(part_of(clean, 19, 35), part_of(found, 19, 35))
        local dv = found.dv:slice(1, 18, 18):flat()[1]
        assert.is_true(name == "v" or dv ~= dv or math.abs(dv) == math.huge)
      end
    end
  end)

  it("gives a problem the same bits alone and among others, on any number of threads", function()
    local threads = mosaic.threads()
    finally(function() mosaic.set_threads(threads) end)
    for _, mask in ipairs { {}, { dropout = { p = 0.4, seed = 3 } } } do
      local q, k, v = operands({ 600, 4, 2, 6, 6, 24 }, "f32")
      local dout = values(q.shape, 7, "f32")
      mosaic.set_threads(1)
      local whole = support.run(q, k, v, mask, dout)
      local tail = { dropout = mask.dropout, batch_from = { 1, 438 }, batch_total = 600 }
      local function rest(t) return t:slice(1, 438, 600) end
      local found = support.run(rest(q), rest(k), rest(v), tail, rest(dout))
      assert.same(part_of(whole, 438, 600), part_of(found, 1, 163))
      for count = 2, 4 do
        mosaic.set_threads(count)
        assert.same(part_of(whole, 1, 600), part_of(support.run(q, k, v, mask, dout), 1, 600))
      end
    end
  end)

  it("drops the same probabilities as longer axes do", function()
    local q, k, v = operands({ 9, 4, 2, 5, 6, 8 }, "f32")
    local dout = values(q.shape, 7, "f32")
    local positions = { 3, 1, 8, 9, 2, 30 }
    for _, options in ipairs {
      {},
      { head_from = 5, batch_from = { 1, 3 }, batch_total = 40 },
      { q_positions = { 4, 40, 2, 7, 1 }, k_positions = positions },
    } do
      options.dropout = { p = 0.3, seed = 11 }
      local wide = {}
      for name, value in pairs(options) do wide[name] = value end
      local found = support.run(q, k, v, options, dout)
      local truth = support.run(q:to "f64", k:to "f64", v:to "f64", wide, dout:to "f64")
      for name, t in pairs(truth) do support.expect(name, found[name], t:flat(), 1e-5) end
    end
  end)
end)
