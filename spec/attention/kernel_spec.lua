local mosaic = require "mosaic"
local support = require "spec.support.attention"

local values, operands, expect_accurate = support.values, support.operands, support.expect_accurate

--- Sizes around what kernels are made of: vectors of 4, 8, 16, tiles of 12, 24, 48, blocks of 64, 128.
local function accurate(sizes, options, gain)
  local q, k, v = operands(sizes, "f32", gain)
  expect_accurate(q, k, v, options, (" for b,h,kv,nq,nk,d = %s"):format(table.concat(sizes, ",")))
end

describe("attention in f32", function()
  it("has at most twice the error of a plain implementation: head sizes", function()
    for _, d in ipairs { 1, 2, 3, 7, 8, 16, 24, 33, 48, 64, 80, 100, 112, 128, 256 } do
      accurate { 1, 2, 1, 21, 37, d }
    end
  end)

  it("... numbers of queries and keys", function()
    for _, n in ipairs { 1, 2, 7, 8, 12, 13, 15, 16, 17, 24, 25, 47, 48, 49, 63, 65, 96, 128, 129, 257 } do
      accurate({ 1, 1, 1, n, 19, 6 })
      accurate({ 1, 1, 1, 19, n, 6 })
      accurate({ 1, 1, 1, n, n, 3 }, { mask = { causal = true } })
    end
  end)

  it("... more queries and keys than fit a chunk", function()
    accurate { 1, 2, 1, 450, 40, 2 }
    accurate { 1, 1, 1, 20, 700, 256 }
    accurate({ 1, 1, 1, 900, 2100, 1 }, { mask = { window = 20 } })
  end)

  it("... masks", function()
    local ids = {}
    for i = 1, 150 do ids[i] = math.floor(i / 40) end
    for _, mask in ipairs {
      { prefix = 75 }, { prefix = 16 }, { window = { 5, 60 } },
      { documents = ids }, { documents = ids, causal = true },
      { causal = true, alibi = { 0.5, 0.0625 } }, { bias = values({ 2, 150, 150 }, 4, "f32") },
    } do
      accurate({ 1, 2, 2, 150, 150, 24 }, { mask = mask })
    end
  end)

  it("... keep that hides whole blocks, beside a window", function()
    local rows, order = {}, {}
    for i = 0, 299 do
      order[i + 1] = 550 - i
      for j = 0, 399 do
        local block = math.floor(i / 100) + math.floor(j / 100)
        rows[#rows + 1] = block % 3 == 0 and j % 7 ~= 3 and 1 or 0
      end
    end
    local keep = mosaic.tensor(rows, { dtype = "u8" }):view { 300, 400 }
    for _, window in ipairs { { 400, 400 }, { 90, 20 } } do
      accurate({ 1, 1, 1, 300, 400, 32 }, { mask = { keep = keep, window = window } })
      accurate({ 1, 1, 1, 300, 400, 3 }, { mask = { keep = keep, window = window }, q_positions = order })
    end
  end)

  it("... positions in any order", function()
    local order = {}
    for i = 0, 149 do order[i + 1] = i * 77 % 150 + 1 end
    accurate({ 1, 2, 1, 150, 150, 8 }, { mask = { causal = true }, q_positions = order, k_positions = order })
    accurate({ 1, 2, 1, 150, 150, 8 }, { mask = { prefix = 80 }, k_positions = order })
  end)

  it("... short axes of many problems", function()
    for _, n in ipairs { 2, 3, 6, 9, 16 } do
      accurate { 7, 3, 3, n - 1, 6, 24 }
      accurate { 5, 4, 2, 6, n, 5 }
      accurate { 5, 4, 4, 6, n, 7 }
    end
    accurate({ 7, 3, 3, 6, 6, 24 }, { scale = -0.7 })
  end)

  it("... scores of hundreds, growing from key to key", function()
    accurate({ 1, 1, 1, 60, 300, 16 }, {}, 100)
    local q, k, v = operands({ 1, 1, 1, 50, 400, 4 }, "f32")
    for j = 1, 400 do k:select(3, j):fill_(j * (j % 2 == 0 and 1 or -1)) end
    expect_accurate(q, k, v)
    accurate({ 1, 1, 1, 30, 30, 4 }, { mask = { bias = values({ 30, 30 }, 5, "f32", 300) } })
    accurate({ 1, 1, 1, 30, 30, 4 }, { scale = 0 })
    accurate({ 1, 1, 1, 30, 30, 4 }, { scale = -2 })
  end)

  it("loses no bf16 values that are subnormal", function()
    local q, k, v = operands({ 1, 1, 1, 20, 40, 24 }, "bf16")
    v = v * 2 ^ -126
    local truth = require "spec.support.dense".attention(q, k, v, {}).out
    assert.is_true(support.largest(truth) > 2 ^ -129)
    support.expect("out", mosaic.sdpa(q, k, v), truth, 2 ^ -142)
  end)

  it("sums the gradient of a bias over what it was broadcast along", function()
    for _, shape in ipairs { { 2, 4, 37, 70 }, { 4, 1, 70 }, { 1, 70 }, { 2, 1, 37, 1 }, { 1 } } do
      local q, k, v = operands({ 2, 4, 2, 37, 70, 8 }, "f32")
      local options = { mask = { bias = values(shape, 5, "f32") } }
      local dout = values(q.shape, 7, "f32")
      local found = support.run(q, k, v, options, dout).dbias
      local truth = support.truth(q, k, v, options, dout).dbias
      assert.same(shape, found.shape)
      assert.is_true(support.distance(found:flat(), truth) < 1e-5)
    end
  end)

  it("accumulates in f32 for bf16 and f16", function()
    for _, dtype in ipairs { "bf16", "f16" } do
      local q, k, v = operands({ 2, 2, 1, 40, 70, 24 }, dtype)
      expect_accurate(q, k, v, { mask = { causal = true } })
      q, k, v = operands({ 9, 2, 2, 6, 5, 7 }, dtype)
      expect_accurate(q, k, v)
      assert.equal("f32", mosaic.sdpa(q, k, v).dtype)
    end
  end)

  it("reads any strides", function()
    local q = values({ 2, 53, 3, 8 }, 1, "f32"):permute(1, 3, 2, 4)
    local k = values({ 8, 2, 57, 3 }, 2, "f32"):permute(2, 4, 3, 1)
    local v = values({ 2, 3, 114, 8 }, 3, "f32"):slice(3, 2, -1, 2)
    expect_accurate(q, k, v)
    local function short(x) return x:slice(3, 1, 6):permute(3, 2, 1, 4) end
    expect_accurate(short(values({ 6, 3, 20, 5 }, 1, "f32"):permute(1, 2, 3, 4)),
      short(values({ 6, 3, 20, 5 }, 2, "f32")), short(values({ 5, 3, 20, 6 }, 3, "f32"):permute(4, 2, 3, 1)))
  end)
end)

describe("attention block by block", function()
  --- Gradients of keys from..to, added to what is there.
  local function add_block(total, q, k, v, options, from, to)
    local positions = {}
    for j = from, to do positions[#positions + 1] = j end
    local function part(t) return t:slice(3, from, to) end
    mosaic.attention.backward(options.dout, options.lse, options.delta, q, part(k), part(v), {
      mask = { causal = true }, k_positions = positions,
      into = { total.dq, part(total.dk), part(total.dv) },
    })
  end

  for _, dtype in ipairs { "f32", "f64" } do
    it("adds up to the whole, forward and backward, in " .. dtype, function()
      local q, k, v = operands({ 2, 2, 1, 40, 60, 8 }, dtype)
      local dout = values(q.shape, 7, dtype)
      local whole = support.run(q, k, v, { mask = { causal = true } }, dout)
      local delta = mosaic.attention.delta(dout, whole.out)
      local total = { dq = q:zeros_like(), dk = k:zeros_like(), dv = v:zeros_like() }
      local out, lse
      for _, block in ipairs { { 1, 7 }, { 8, 50 }, { 51, 60 } } do
        local positions = {}
        for j = block[1], block[2] do positions[#positions + 1] = j end
        local o, l = mosaic.attention.forward(q, k:slice(3, unpack(block)), v:slice(3, unpack(block)),
          { mask = { causal = true }, k_positions = positions })
        if out then mosaic.attention.merge_(out, lse, o, l) else out, lse = o, l end
        add_block(total, q, k, v, { dout = dout, lse = whole.lse, delta = delta }, unpack(block))
      end
      local bound = dtype == "f64" and 1e-14 or 1e-5
      assert.is_true(support.distance(out:flat(), whole.out:flat()) <= bound)
      assert.is_true(support.distance(lse:flat(), whole.lse:flat()) <= bound)
      for name, t in pairs(total) do
        assert.is_true(support.distance(t:flat(), whole[name]:flat()) <= bound, name)
      end
    end)
  end
end)

describe("attention on several threads", function()
  local before = mosaic.threads()
  after_each(function() mosaic.set_threads(before) end)

  local function results(threads, sizes, dtype, mask)
    mosaic.set_threads(threads)
    local q, k, v = operands(sizes, dtype)
    return support.run(q, k, v, { mask = mask }, values(q.shape, 7, dtype))
  end

  it("gives the same bits as on one", function()
    for _, case in ipairs {
      { { 1, 1, 1, 1700, 1500, 4 }, "f32", { causal = true } }, { { 1, 2, 1, 500, 400, 100 }, "f32", {} },
      { { 1, 1, 1, 900, 50, 3 }, "f64", {} }, { { 500, 3, 3, 6, 6, 24 }, "f32", {} },
      { { 2, 3, 3, 70, 80, 8 }, "f32", { bias = values({ 70, 80 }, 4, "f32") } },
    } do
      local one = results(1, unpack(case))
      for threads = 2, 5 do
        for name, t in pairs(results(threads, unpack(case))) do
          assert.same(one[name]:flat(), t:flat(), ("%s on %d threads"):format(name, threads))
        end
      end
    end
  end)

  it("gives nothing to keys that lie on both sides of all windows, none in them", function()
    local q_positions, k_positions = {}, {}
    for i = 1, 40 do q_positions[i] = 500 end
    for j = 1, 192 do k_positions[j] = j > 64 and j % 2 == 0 and 1000 + j or j end
    local q, k, v = operands({ 1, 1, 1, 40, 192, 16 }, "f32")
    for _, keep in ipairs { false, mosaic.ones { 40, 192, dtype = "u8" } } do
      local mask = { window = 0, keep = keep or nil }
      local options = { mask = mask, q_positions = q_positions, k_positions = k_positions }
      for name, t in pairs(support.run(q, k, v, options, values(q.shape, 7, "f32"))) do
        local nothing = name == "lse" and -math.huge or 0
        for _, x in ipairs(t:flat()) do assert.equal(nothing, x, name) end
      end
    end
  end)
end)
