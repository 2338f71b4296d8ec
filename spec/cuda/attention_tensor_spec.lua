--- Forward on tensor cores. Halves: weights are rounded once, so a result is off by no more than that
-- rounding times the largest value. f32: attention_sizes_spec.lua holds it to more.
local mosaic = require "mosaic"
local dense = require "spec.support.dense"
local device = require "spec.support.device"
local on = require "spec.support.device_attention"
local support = require "spec.support.attention"

local values, operands = support.values, support.operands
local distance, largest = support.distance, support.largest

--- Of a weight that is 1.
local ROUNDING = { bf16 = 2 ^ -9, f16 = 2 ^ -12, f32 = 2e-6 }

local function flat(x) return x:to { device = "cpu" }:to "f64":flat() end

local function square_error(list, truth)
  local sum = 0
  for i, x in ipairs(list) do sum = sum + (x - truth[i]) ^ 2 end
  return sum
end

local function forward(q, k, v, options)
  local name = device.name
  local out, lse = mosaic.attention.forward(on.moved(q, name), on.moved(k, name), on.moved(v, name), options)
  return { out = flat(out), lse = flat(lse) }
end

--- Results are averages of numbers up to `most`, by scores that are known to some ulps of 1, or of `score`.
local function expect_near(found, truth, dtype, most, note, score)
  local out, lse = distance(found.out, truth.out), distance(found.lse, truth.lse)
  local bounds = { out = (ROUNDING[dtype] + 1e-6 + 2 ^ -24 * (score or 0)) * most,
    lse = 1e-6 * math.max(1, largest(truth.lse)) }
  for name, worst in pairs { out = out, lse = lse } do
    if not (worst <= bounds[name]) then
      assert.is_true(false, ("%s is off by %.3g, more than %.3g: %s"):format(name, worst, bounds[name], note))
    end
  end
end

--- `make(name)` gives the options on that device.
local function agree(q, k, v, make, note, score)
  make = make or function() return {} end
  local options = make "cpu"
  local out, lse = mosaic.attention.forward(q:to "f64", k:to "f64", v:to "f64", options)
  local kept = options.dropout and 1 / (1 - options.dropout.p) or 1
  local shapes = table.concat(q.shape, ",") .. " " .. table.concat(k.shape, ",")
  expect_near(forward(q, k, v, make(device.name)), { out = out:flat(), lse = lse:flat() }, q.dtype,
    largest(v:to("f64"):flat()) * kept, ("%s %s %s"):format(note or "", q.dtype, shapes), score)
end

local function agree_all(kinds, sizes, make, note)
  for _, kind in ipairs(kinds) do
    local q, k, v = operands({ sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], kind[2] }, kind[1])
    agree(q, k, v, make, note)
  end
end

--- Kernels are compiled for each: few are enough. Rows of 6 and 20 halves end within 16 bytes that are copied
-- at once.
local FEW = { { "bf16", 5 }, { "f32", 24 } }
local ALL = {
  { "bf16", 5 }, { "bf16", 6 }, { "f16", 20 }, { "bf16", 24 }, { "f16", 40 }, { "bf16", 64 },
  { "bf16", 128 }, { "f32", 24 },
}

local function integers(n, f, name)
  local list = {}
  for i = 1, n do list[i] = f(i) end
  return mosaic.tensor(list, { dtype = "i64", device = name })
end

local function shuffled(n, name) return integers(n, function(i) return (i - 1) * 77 % n + 1 end, name) end
local function thirds(n, name) return integers(n, function(i) return math.floor(i / 40) end, name) end

local function options_of(mask, more)
  return function(name)
    local options = { mask = type(mask) == "function" and mask(name) or mask }
    for key, value in pairs(more or {}) do
      options[key] = type(value) == "function" and value(name) or value
    end
    return options
  end
end

describe("attention on tensor cores", function()
  setup(function() on.choose "tensor" end)
  teardown(function() on.choose(nil) end)

  it("rounds weights once: head sizes and dtypes", function()
    agree_all(ALL, { 2, 2, 2, 65, 130 })
    agree_all(ALL, { 1, 2, 2, 13, 37 }, options_of { causal = true })
  end)

  it("is about as good as weights of at most 1, rounded", function()
    local q, k, v = operands({ 1, 1, 1, 65, 130, 24 }, "bf16", 3)
    local wide = { q:to "f64", k:to "f64", v:to "f64" }
    local scores = wide[1]:matmul(wide[2]:transpose(-1, -2)) * (1 / math.sqrt(24))
    local weights = (scores - scores:amax(-1, true)):exp()
    local usual = (weights:to("bf16"):to("f64"):matmul(wide[3]) / weights:sum(-1, true)):flat()
    local truth, found = mosaic.attention.forward(wide[1], wide[2], wide[3]):flat(), forward(q, k, v).out
    assert.is_true(square_error(found, truth) <= 2 * square_error(usual, truth))
  end)

  it("is as good as the CPU where few keys have all the weight: f32", function()
    local q, k, v = operands({ 1, 2, 2, 65, 130, 24 }, "f32")
    local options = { scale = 1.3 }
    local out, lse = mosaic.attention.forward(q:to "f64", k:to "f64", v:to "f64", options)
    local truth = { out = out:flat(), lse = lse:flat() }
    out, lse = mosaic.attention.forward(q, k, v, options)
    local cpu, found = { out = flat(out), lse = flat(lse) }, forward(q, k, v, options)
    for name, x in pairs(truth) do
      assert.is_true(square_error(found[name], x) <= 1.5 * square_error(cpu[name], x), name)
    end
  end)

  it("agrees with plain doubles", function()
    local q, k, v = operands({ 1, 2, 1, 13, 37, 24 }, "f32")
    local truth = dense.attention(q, k, v, { mask = { causal = true } })
    expect_near(forward(q, k, v, { mask = { causal = true } }), truth, "f32", 1, "")
  end)

  it("takes lengths that do not fill a tile, or fill several", function()
    for _, nq in ipairs { 1, 65, 130 } do
      for _, nk in ipairs { 1, 13, 130 } do
        agree_all(FEW, { 1, 1, 1, nq, nk }, options_of { window = { 70, 20 } })
      end
    end
  end)

  local masks = {
    ["causal"] = { causal = true },
    ["a window"] = { window = { 5, 60 } },
    ["a prefix"] = { prefix = 75 },
    ["documents"] = function(name) return { documents = thirds(130, name) } end,
    ["documents, causal"] = function(name) return { documents = thirds(130, name), causal = true } end,
    ["slopes"] = function(name) return on.moved({ alibi = values({ 4 }, 9) * 0.1 }, name) end,
    ["a kept set"] = function(name)
      return on.moved({ keep = values({ 1, 1, 130, 130 }, 5):gt(0.1) }, name)
    end,
    ["everything"] = function(name)
      local rest = on.moved({ alibi = values({ 4 }, 9) * 0.1, bias = values({ 1, 130 }, 4),
        keep = values({ 4, 130, 130 }, 5):gt(-0.5) }, name)
      rest.causal, rest.documents = true, thirds(130, name)
      return rest
    end,
  }
  for _, dtype in ipairs { "f32", "f64", "bf16", "f16" } do
    masks["a bias of " .. dtype] = function(name)
      return on.moved({ bias = values({ 4, 130, 130 }, 4, dtype) }, name)
    end
  end
  for name, mask in pairs(masks) do
    it("agrees, masked by " .. name, function()
      agree_all(FEW, { 1, 4, 2, 130, 130 }, options_of(mask), name)
      local function order(where) return shuffled(130, where) end
      local rest = { q_positions = order, k_positions = order, dropout = { p = 0.3, seed = 7 },
        head_from = 3, batch_from = { 5 } }
      agree_all(FEW, { 1, 4, 2, 130, 130 }, options_of(mask, rest), name .. ", any order, dropout")
    end)
  end

  it("packs the queries of a group into tiles", function()
    for _, nq in ipairs { 1, 3, 30 } do
      local function last_rows(name) return integers(nq, function(i) return 99 + i end, name) end
      local first = { q_positions = last_rows }
      agree_all(FEW, { 2, 12, 2, nq, 130 }, options_of({ causal = true, window = { 70, 0 } }, first))
      agree_all(FEW, { 2, 12, 2, nq, 130 }, options_of(function(name)
        return on.moved({ bias = values({ 12, nq, 130 }, 4), alibi = values({ 12 }, 9) * 0.1 }, name)
      end, { dropout = { p = 0.3, seed = 7 }, q_positions = first.q_positions }))
    end
  end)

  it("reads rows of any alignment and strides", function()
    for _, dtype in ipairs { "bf16", "f32" } do
      for _, width in ipairs { 24, 32, 28, 26, 25 } do
        local wide = values({ 2, 3, 70, width }, 1, dtype)
        local x = wide:slice(4, width - 23, -1)
        agree(x, x, x, nil, "rows of " .. width)
      end
      local q = values({ 24, 2, 70, 3 }, 1, dtype):permute(2, 4, 3, 1)
      local k = values({ 2, 140, 3, 24 }, 2, dtype):permute(1, 3, 2, 4):slice(3, 1, -1, 2)
      local v = values({ 2, 1, 70, 24 }, 3, dtype):expand(2, 3, 70, 24)
      agree(q, k, v, nil, "strides")
    end
  end)

  it("takes any scale", function()
    for _, scale in ipairs { -0.7, 0, 1e-30, 40 } do
      agree_all({ { "f32", 24 } }, { 1, 2, 2, 30, 70 }, options_of(nil, { scale = scale }))
    end
    agree_all({ { "bf16", 24 } }, { 1, 2, 2, 30, 70 }, options_of(nil, { scale = -0.7 }))
  end)

  it("gives 0 and -inf to a query without keys", function()
    local after = { q_positions = function(name) return integers(130, function(i) return 2 * i end, name) end,
      k_positions = function(name) return shuffled(130, name) end }
    agree_all(FEW, { 1, 2, 2, 130, 130 }, options_of({ window = 0 }, after))
    agree_all(FEW, { 1, 2, 2, 130, 130 }, options_of { prefix = 0 })
    local q = on.moved(values({ 1, 1, 3, 24 }, 1, "f32"), device.name)
    local none = mosaic.zeros { 1, 1, 0, 24, dtype = "f32", device = device.name }
    local out, lse = mosaic.attention.forward(q, none, none)
    assert.equal(0, largest(out:flat()))
    assert.same({ -math.huge, -math.huge, -math.huge }, lse:flat())
  end)

  it("follows scores that grow from tile to tile", function()
    local steps = mosaic.arange(1, 400, { dtype = "f64" }):view(1, 1, 400, 1) * 0.05
    for _, dtype in ipairs { "bf16", "f32" } do
      local q, k, v = operands({ 1, 1, 1, 20, 400, 24 }, "f64")
      agree((q + 1):to(dtype), ((k * 0.01 + 1) * steps):to(dtype), v:to(dtype), nil, nil, 100)
    end
  end)

  it("keeps its precision over thousands of keys, and numbers of any size", function()
    agree_all({ { "bf16", 24 }, { "f32", 24 } }, { 1, 1, 1, 5, 6000 })
    local q, k, v = operands({ 1, 1, 1, 20, 130, 24 }, "f64")
    local uneven = (mosaic.arange(1, 130, { dtype = "f64" }):view(1, 1, 130, 1) * 0.2 - 13):exp()
    agree((q * 1e-20):to "f32", (k * 1e20):to "f32", (v * uneven * 1e25):to "f32")
  end)

  it("is infinite only where weights of at most 1 make it so", function()
    local late = mosaic.arange(1, 256, { dtype = "f64" }):gt(128):to("f64"):view(1, 1, 256, 1)
    for _, dtype in ipairs { "bf16", "f32" } do
      local q = mosaic.ones { 1, 1, 16, 24, dtype = dtype }
      local k = (late * 7.9):expand(1, 1, 256, 24):to(dtype) -- the others' weights times 2^11.4
      local v = (values({ 1, 1, 256, 24 }, 3, "f64") * 5e34 + 5e35):to(dtype)
      local options = { scale = 1 / 24 }
      agree(q, k, v, options_of(nil, options))
      v:set(1, 1, 7, 2, math.huge)
      for i, x in ipairs(forward(q, k, v, options).out) do
        assert.equal(i % 24 == 2, x == math.huge, ("%s[%d] is %g"):format(dtype, i, x))
      end
    end
  end)

  it("never hides a NaN", function()
    for _, dtype in ipairs { "bf16", "f32" } do
      for spoilt = 1, 3 do
        for _, row in ipairs { 1, 8, 33, 70 } do
          local tensors = { operands({ 1, 1, 1, 70, 70, 24 }, dtype) }
          tensors[spoilt]:set(1, 1, row, 2, 0 / 0)
          local found = forward(unpack(tensors))
          for i = spoilt == 1 and row or 1, spoilt == 1 and row or 70 do
            local out, lse = found.out[(i - 1) * 24 + 2], found.lse[i]
            assert.is_true(out ~= out and (lse ~= lse) == (spoilt < 3), ("query %d of %s"):format(i, dtype))
          end
        end
      end
    end
  end)

  it("calls functions of masks", function()
    local q, k, v = operands({ 1, 4, 2, 35, 70, 24 }, "bf16")
    agree(q, k, v, options_of({
      window = { 29, 12 },
      keep = function(_, h, i, j) return i + j ~= 12 and h * i % 5 ~= 2 end,
      score = function(s, b, h, i, j)
        return i == j and s * s * s or math.min(s, 1) / (h + b) + math.log(i + j)
      end,
    }, { dropout = { p = 0.2, seed = 3 }, head_from = 1 }))
  end)

  it("counts the pairs that it works on, and gives the same bits every time", function()
    local q, k, v = operands({ 2, 4, 2, 65, 200, 24 }, "f32")
    local keep = values({ 65, 200 }, 5):gt(0)
    for _, mask in ipairs { {}, { causal = true }, { prefix = 0 }, { keep = keep } } do
      local counts = {}
      for i, name in ipairs { "cpu", device.name } do
        local there = on.moved({ q, k, v, { mask = mask } }, name)
        mosaic.attention.reset_work()
        mosaic.attention.forward(unpack(there))
        counts[i] = mosaic.attention.work()
      end
      assert.equal(counts[1].forward, counts[2].forward)
      local tiles = counts[2].forward_tiles
      assert.is_true(tiles >= counts[1].forward and tiles <= 2 * 4 * 65 * 200)
      local options = on.moved({ mask = mask }, device.name)
      assert.same(forward(q, k, v, options), forward(q, k, v, options))
    end
  end)
end)
