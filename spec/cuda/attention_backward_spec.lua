--- Gradients of attention on tensor cores.
local mosaic = require "mosaic"
local device_gradients = require "spec.support.device_gradients"
local on = require "spec.support.device_attention"
local support = require "spec.support.attention"

local values, agree, there = support.values, device_gradients.agree, device_gradients.there
local gradients, forward_of = device_gradients.gradients, device_gradients.forward_of
local RESULTS = { "dq", "dk", "dv" }

local function agree_all(sizes, options, dtypes)
  for _, dtype in ipairs(dtypes or { "f32", "bf16" }) do
    local q, k, v = support.operands(sizes, dtype)
    agree(q, k, v, options)
  end
end

--- On the device: operands, a gradient of the result, and what a forward of them gives.
local function prepared(sizes, dtype)
  local q, k, v = support.operands(sizes, dtype)
  local dout = values(q.shape, 7, "f32")
  local forward = forward_of(q, k, v, dout, {})
  forward.delta = forward.delta:to "f32"
  return there(q), there(k), there(v), there(dout), there(forward)
end

local function list(dtype, n, f)
  local t = {}
  for i = 1, n do t[i] = f(i - 1) end
  return mosaic.tensor(t, { dtype = dtype })
end

local function documents(n, length) return list("i64", n, function(i) return math.floor(i / length) end) end
local function keep(n) return list("u8", n, function(i) return i * 7 % 5 > 1 and 1 or 0 end) end
local slopes = mosaic.tensor({ 0.5, 0.25, 0.125, 0.0625 }, { dtype = "f32" })

--- Masks for 2 batch entries and 4 heads.
local function masks(nq, nk)
  return {
    causal = { causal = true },
    ["a lopsided window"] = { window = { 1, 40 } },
    ["an empty prefix"] = { prefix = 0 },
    documents = { causal = true, documents = { q = documents(nq, 9), k = documents(nk, 9) } },
    alibi = { alibi = slopes },
    ["a kept set per head"] = { keep = keep(8 * nk):view(2, 4, 1, nk) },
    ["a bias"] = { bias = values({ 4, nq, nk }, 4) },
    ["everything at once"] = {
      causal = true, window = { 29, 2 }, prefix = 34,
      documents = { q = documents(nq, 19), k = documents(nk, 19) }, alibi = slopes,
      keep = keep(4 * nq * nk):view(4, nq, nk), bias = values({ 1, nk }, 4),
    },
  }
end

describe("attention's gradients on tensor cores", function()
  setup(function() on.choose "tensor" end)
  teardown(function() on.choose(nil) end)

  it("agree with the CPU where rows end within 16 bytes that are copied at once", function()
    agree_all({ 1, 2, 2, 35, 70, 20 }, {}, { "f16" })
    agree_all({ 1, 2, 2, 35, 70, 6 }, {}, { "bf16" })
  end)

  for name in pairs(masks(13, 17)) do
    it("agree with the CPU, masked by " .. name, function()
      for _, n in ipairs { { 13, 17 }, { 65, 70 } } do
        agree_all({ 2, 4, 2, n[1], n[2], 24 }, { mask = masks(n[1], n[2])[name] })
      end
      local nq, nk = 35, 70
      agree_all({ 2, 4, 2, nq, nk, 24 }, { mask = masks(nq, nk)[name],
        q_positions = list("i64", nq, function(i) return i * 4 % nq + 1 end),
        k_positions = list("i64", nk, function(i) return i * 9 % nk + 1 end) }, { "bf16" })
    end)
  end

  it("take head sizes that fill no tile, and large ones", function()
    agree_all({ 1, 2, 1, 13, 33, 5 }, { mask = { causal = true } }, { "f32", "f16" })
    agree_all({ 1, 2, 1, 65, 70, 128 }, {}, { "f32" })
    agree_all({ 1, 2, 1, 33, 70, 200 }, { mask = { causal = true } }, { "bf16" })
  end)

  it("take lengths that do not fill a tile, or fill several", function()
    for _, nq in ipairs { 1, 65, 130 } do
      for _, nk in ipairs { 1, 13, 130 } do
        local dtype = nq == nk and "f32" or "bf16"
        agree_all({ 1, 1, 1, nq, nk, 24 }, { mask = { window = { 70, 20 } } }, { dtype })
      end
    end
  end)

  it("are as good as the CPU's where few keys have all the weight: f32", function()
    local function error_of(results, truth)
      local sum = 0
      for i, x in ipairs(results) do sum = sum + (x - truth[i]) ^ 2 end
      return sum
    end
    local q, k, v = support.operands({ 1, 2, 2, 65, 130, 24 }, "f32")
    local dout, options = values(q.shape, 7, "f32"), { scale = 1.3 }
    local forward = forward_of(q, k, v, dout, options)
    local truth = gradients(q:to "f64", k:to "f64", v:to "f64", dout:to "f64", forward, options)
    forward.delta = forward.delta:to "f32"
    local here = gradients(q, k, v, dout, forward, options)
    local found = gradients(there(q), there(k), there(v), there(dout), there(forward), options)
    for _, name in ipairs(RESULTS) do
      assert.is_true(error_of(found[name], truth[name]) <= 1.2 * error_of(here[name], truth[name]), name)
    end
  end)

  it("show a NaN in every row that sees it", function()
    for _, dtype in ipairs { "f32", "bf16" } do
      for spoilt = 1, 4 do
        local row, q, k, v = 40, support.operands({ 1, 1, 1, 70, 70, 24 }, dtype)
        local x = { q, k, v, values(q.shape, 7, "f32") }
        x[spoilt]:set(1, 1, row, 2, 0 / 0)
        x = there(x)
        local options = { mask = { causal = true } }
        local out, lse = mosaic.attention.forward(x[1], x[2], x[3], options)
        local delta = mosaic.attention.delta(x[4], out)
        local found = gradients(x[1], x[2], x[3], x[4], { lse = lse, delta = delta }, options)
        local queries = spoilt == 1 or spoilt == 4
        for i = 1, 70 do
          local at = (i - 1) * 24 + 2
          local dq, dk = found.dq[at], found.dk[at]
          if queries and i == row or not queries and i >= row then assert.is_true(dq ~= dq) end
          if i <= row then assert.is_true(dk ~= dk) end
        end
      end
    end
  end)

  it("are 0 of queries whose scores are all -infinity", function()
    for _, dtype in ipairs { "f32", "bf16" } do
      local q, _, v, dout = prepared({ 1, 1, 1, 35, 40, 24 }, dtype)
      local k = (mosaic.ones { 1, 1, 40, 24, device = q.device } * -1e20):to(dtype)
      local all = (mosaic.ones { 1, 1, 35, 24, device = q.device } * 1e20):to(dtype)
      local out, lse = mosaic.attention.forward(all, k, v)
      local found = gradients(all, k, v, dout, { lse = lse, delta = mosaic.attention.delta(dout, out) })
      for _, name in ipairs(RESULTS) do
        for _, x in ipairs(found[name]) do assert.equal(0, x) end
      end
    end
  end)

  it("keep gradients of any size", function()
    for _, gain in ipairs { 1e-9, 1e6 } do
      for dtype, d in pairs { f32 = 24, bf16 = 24, f16 = 5 } do
        local q, k, v = support.operands({ 1, 2, 1, 35, 40, d }, dtype)
        agree(q, k, v, {}, values(q.shape, 7, "f32", gain))
      end
    end
  end)

  it("read any strides", function()
    for _, dtype in ipairs { "f32", "bf16" } do
      local q = values({ 2, 13, 4, 24 }, 1, dtype):permute(1, 3, 2, 4)
      local k = values({ 24, 2, 17, 2 }, 2, dtype):permute(2, 4, 3, 1)
      agree(q, k, values({ 2, 2, 34, 24 }, 3, dtype):slice(3, 2, -1, 2))
    end
  end)

  it("drop what the CPU drops", function()
    agree_all({ 2, 4, 2, 35, 50, 24 }, { dropout = { p = 0.3, seed = 7 }, mask = { causal = true } })
  end)

  it("follow a mask's functions", function()
    local function hides(_, h, i, j) return (i + j * h) % 3 ~= 0 and j <= i + 20 end
    local function caps(s) return 0.5 * math.tanh(s / 0.5) end
    require "spec.support.dense".slopes[caps] = function(s) return 1 - math.tanh(s / 0.5) ^ 2 end
    agree_all({ 2, 4, 2, 35, 50, 24 }, { mask = { keep = hides, score = caps } }, { "f32" })
  end)

  it("add to what is there", function()
    local q, k, v, dout, forward = prepared({ 1, 4, 2, 35, 40, 24 }, "f32")
    local alone = gradients(q, k, v, dout, forward)
    local into = { values(q.shape, 1, "f32"), values(k.shape, 2, "f32"), values(v.shape, 3, "f32") }
    local before = { dq = into[1]:flat(), dk = into[2]:flat(), dv = into[3]:flat() }
    local sums = gradients(q, k, v, dout, forward, { into = there(into) })
    for _, name in ipairs(RESULTS) do
      for i, x in ipairs(sums[name]) do
        assert.is_true(math.abs(x - before[name][i] - alone[name][i]) < 2e-6)
      end
    end
  end)

  it("are the same bits every time", function()
    local q, k, v, dout, forward = prepared({ 2, 4, 2, 65, 70, 24 }, "bf16")
    assert.same(gradients(q, k, v, dout, forward), gradients(q, k, v, dout, forward))
  end)

  it("count the pairs that they work on", function()
    for _, mask in ipairs { {}, { causal = true }, { keep = keep(65 * 70):view(65, 70) } } do
      local options = { mask = mask }
      local q, k, v = support.operands({ 2, 4, 2, 65, 70, 24 }, "bf16")
      local dout, counts = values(q.shape, 7, "f32"), {}
      local forward = forward_of(q, k, v, dout, options)
      for i, move in ipairs { function(x) return x end, there } do
        mosaic.attention.reset_work()
        local before = move { lse = forward.lse, delta = forward.delta:to "f32" }
        gradients(move(q), move(k), move(v), move(dout), before, move(options))
        counts[i] = mosaic.attention.work().backward
      end
      assert.equal(counts[1], counts[2])
    end
  end)
end)
