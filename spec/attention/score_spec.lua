local mosaic = require "mosaic"
local dense = require "spec.support.dense"
local fails = require "spec.support.fails"
local support = require "spec.support.attention"

local values, operands, shuffled = support.values, support.operands, support.shuffled
local expect_exact, expect_accurate = support.expect_exact, support.expect_accurate

--- A score function with its derivative for the truth.
local function scored(score, slope)
  dense.slopes[score] = slope
  return { score = score }
end

local function one() return 1 end

--- Buckets of distances as T5 makes them: near ones have their own, far ones share.
local function bucket(distance)
  if distance < 4 then return distance + 1 end
  return math.min(8, 5 + math.floor(math.log(distance / 4) / math.log(8) * 4))
end

local slopes = { 0.5, 0.25, 0.125, 0.0625 }
local buckets = { { 1, 2, 3, 4, 5, 6, 7, 8 }, { 8, 6, 4, 2, 0, -2, -4, -6 }, { 0, 1, 0, 1, 0, 1, 0, 1 },
  { 0.5, -0.5, 0.25, -0.25, 0.125, -0.125, 3, 1 } }
local document = { 1, 1, 1, 2, 2, 2, 2, 2, 5, 5, 5, 1, 1, 7, 7, 7, 7 }
local global = { [2] = true, [9] = true }

--- Functions for q (2,4,13,d) and k (2,2,17,d).
local masks = {
  ["a causal function"] = { keep = function(_, _, i, j) return j <= i end },
  ["a window"] = { keep = function(_, _, i, j) return i - j <= 3 and j - i <= 2 end },
  ["a prefix"] = { keep = function(_, _, i, j) return j <= 5 or (i > 5 and j == i) end },
  ["a checkerboard"] = { keep = function(_, _, i, j) return i % 2 == j % 2 end },
  ["documents by a list"] = { keep = function(_, _, i, j) return document[i] == document[j] end },
  ["a set of global keys"] = {
    keep = function(_, _, i, j) return global[j] or global[i] or math.abs(i - j) < 2 end,
  },
  ["batch entry and head"] = { keep = function(b, h, i, j) return (i + j * h) % (b + 2) ~= 0 end },
  ["a loop"] = {
    keep = function(_, _, i, j)
      for step = 1, 4 do
        if i - j == 2 ^ step then return true end
      end
      return i == j
    end,
  },
  ["nothing at all"] = { keep = function() return false end },
  alibi = scored(function(s, _, h, i, j) return s - slopes[h] * (i - j) end, one),
  ["a soft cap"] = scored(function(s) return 0.5 * math.tanh(s / 0.5) end,
    function(s) return 1 - math.tanh(s / 0.5) ^ 2 end),
  ["buckets of distances"] = scored(function(s, _, h, i, j)
    return s + buckets[h][bucket(math.abs(i - j))]
  end, one),
  ["scores that hide"] = scored(function(s, b, _, i, j)
    if (i + j) % 3 == b then return -math.huge end
    return s * 2
  end, function() return 2 end),
  ["powers, roots and sines"] = scored(function(s, _, _, i, j)
    return (s * s + 1) ^ 0.5 + math.sin(i) * math.cos(j) + math.exp(-math.abs(i - j))
  end, function(s) return s / math.sqrt(s * s + 1) end),
  ["everything at once"] = (function()
    local mask = scored(function(s, b, h, i, j)
      if i == j then return s * s * s end
      return math.min(s, 1) / (h + b) + math.log(i + j)
    end, function(s, b, h, i, j)
      return i == j and 3 * s * s or (s < 1 and 1 / (h + b) or 0)
    end)
    mask.keep = function(_, h, i, j) return i + j ~= 12 and h * i % 5 ~= 2 end
    mask.causal, mask.window, mask.alibi = true, { 9, 2 }, slopes
    mask.documents = { q = { 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2 },
      k = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2 } }
    mask.bias = values({ 4, 13, 17 }, 4)
    return mask
  end)(),
}

describe("functions in masks", function()
  for name, mask in pairs(masks) do
    it("are exact with gradients in f64: " .. name, function()
      support.expect_exact_masked(mask)
    end)
  end

  it("have at most twice the error of a plain implementation in f32", function()
    for _, mask in pairs(masks) do
      local q, k, v = operands({ 2, 4, 2, 13, 17, 5 }, "f32")
      expect_accurate(q, k, v, { mask = mask })
      expect_accurate(q, k, v,
        { mask = mask, scale = -0.7, q_positions = shuffled(13, 5), k_positions = shuffled(17, 7) })
    end
  end)

  it("... over many tiles and blocks, of which some are empty or full", function()
    local window = { keep = function(_, _, i, j) return math.abs(i - j) <= 40 end }
    local blocks = { keep = function(_, h, i, j)
      return (math.floor((i - 1) / 64) + math.floor((j - 1) / 64)) % 3 == h % 3
    end }
    local hiding = scored(function(s, _, h, i, j)
      if i - j > 100 * h then return -math.huge end
      return 1.5 * math.tanh(s / 1.5)
    end, function(s) return 1 - math.tanh(s / 1.5) ^ 2 end)
    for _, sizes in ipairs { { 1, 2, 1, 150, 150, 8 }, { 1, 2, 2, 300, 260, 3 }, { 1, 1, 1, 20, 500, 2 } } do
      for _, mask in ipairs { window, blocks, hiding } do
        local q, k, v = operands(sizes, "f32")
        expect_accurate(q, k, v, { mask = mask })
      end
    end
  end)

  it("compute what Lua computes, also at the edges", function()
    local xs = { 0, 1, -1, 0.5, -2.5, 1e-9, -1e-9, 0.3, 3.7, 20, -20, 709, -745.2, 800, -800, 12345.678,
      1e300, -1e300, math.huge, 7, 8, 64, -7 }
    local q, k, v = values({ #xs, 1 }, 1), values({ 1, 1 }, 2), values({ 1, 1 }, 3)
    for name, f in pairs {
      exp = math.exp, tanh = math.tanh, floor = math.floor, ceil = math.ceil, abs = math.abs,
      log = math.log, sqrt = math.sqrt, sin = math.sin, cos = math.cos,
      remainder = function(x) return x % 3 end, ["negative remainder"] = function(x) return x % -2.5 end,
      power = function(x) return x ^ 3 end, base = function(x) return 2 ^ x end,
      least = function(x) return math.min(x, 2, 5) end, most = function(x) return math.max(x, -1) end,
      quotient = function(x) return x / 3 - 1 / (x + 0.25) end,
    } do
      local _, lse = mosaic.sdpa(q, k, v, { mask = { score = function(_, _, _, i) return f(xs[i]) end } })
      for i, got in ipairs(lse:flat()) do -- of one key: its score; -inf and NaN are a row's business
        local want = f(xs[i])
        local close = math.abs(got - want) <= 1e-15 * math.abs(want) or got == want
        assert.is_true(close or math.abs(want) == math.huge or (want ~= want and got ~= got),
          ("%s of %.17g is %.17g, not %.17g"):format(name, xs[i], got, want))
      end
    end
  end)

  it("... in bf16 and f16, on short axes of many problems, and with dropout", function()
    local mask = scored(function(s, b, h, i, j) return j <= i and s * b / h or -math.huge end,
      function(_, b, h) return b / h end)
    for _, dtype in ipairs { "bf16", "f16" } do
      local q, k, v = operands({ 1, 2, 1, 30, 30, 8 }, dtype)
      expect_accurate(q, k, v, { mask = mask })
    end
    local q, k, v = operands({ 7, 3, 3, 6, 6, 5 }, "f32")
    expect_accurate(q, k, v, { mask = mask })
    expect_accurate(q, k, v, { mask = mask, dropout = { p = 0.3, seed = 5 } })
  end)

  it("get the numbers of the whole, wherever the call lies", function()
    local mask = scored(function(s, b, h, i, j) return s - (i - j) * h / b end, one)
    mask.keep = function(b, h, i, j) return (i + j + b + h) % 4 ~= 0 end
    for _, dtype in ipairs { "f32", "f64" } do
      local q, k, v = operands({ 2, 4, 2, 9, 11, 3 }, dtype)
      local expect = dtype == "f32" and expect_accurate or expect_exact
      expect(q, k, v, { mask = mask, head_from = 5, batch_from = { 3, 2 }, batch_total = 7,
        q_positions = { 21, 22, 23, 24, 25, 31, 32, 33, 34 } })
    end
  end)

  it("give a row that sees nothing 0 and -inf, and hide what would be NaN", function()
    local never = { score = function(s, _, _, i) return i == 2 and -math.huge or s end }
    local root = scored(function(s, _, _, i, j) return i >= j and s + math.sqrt(i - j) or -math.huge end, one)
    for _, dtype in ipairs { "f32", "f64" } do
      local q, k, v = operands({ 1, 1, 1, 3, 4, 2 }, dtype)
      local out, lse = mosaic.sdpa(q, k, v, { mask = never })
      assert.same({ 0, 0 }, out[1][1][2]:tolist())
      assert.equal(-math.huge, lse:get(1, 1, 2))
      local expect = dtype == "f32" and expect_accurate or expect_exact
      expect(q, k, v, { mask = root })
      local nan = mosaic.sdpa(q, k, v, { mask = { score = function(s, _, _, i, j)
        return s + math.sqrt(i - j)
      end } }):flat()
      for i = 1, 6 do assert.is_true(nan[i] ~= nan[i]) end -- a NaN that is seen stays
    end
  end)

  it("differentiate through the score: gradcheck", function()
    local q, k, v = operands { 1, 4, 2, 3, 4, 2 }
    local bias = values({ 4, 1, 4 }, 4)
    for _, t in ipairs { q, k, v, bias } do t:requires_grad_() end
    for name, score in pairs {
      cap = function(s) return 3 * math.tanh(s / 3) end,
      mixed = function(s, b, h, i, j)
        if s > 0.1 then return math.log(1 + s) * h + math.abs(s - 0.3) end
        local near = (i - j):clamp(-1, 1):sigmoid()
        return math.max(s, -0.4) ^ 3 / (s * s + b) - math.exp(s) % 0.3 + 2 ^ s * near
      end,
    } do
      mosaic.gradcheck(function(a, b, c, d)
        return mosaic.sdpa(a, b, c, { mask = { causal = name == "cap", bias = d, score = score } })
      end, { q, k, v, bias })
    end
  end)

  it("may be programs that were made before, and trace what they captured then", function()
    local q, k, v = operands { 1, 1, 1, 9, 9, 3 }
    local reach = 2
    local keep = function(_, _, i, j) return math.abs(i - j) <= reach end
    local program = mosaic.program.keep(keep)
    local expected = mosaic.sdpa(q, k, v, { mask = { window = 2 } }):flat()
    reach = 5
    assert.same(expected, mosaic.sdpa(q, k, v, { mask = { keep = program } }):flat())
    assert.same(mosaic.sdpa(q, k, v, { mask = { window = 5 } }):flat(),
      mosaic.sdpa(q, k, v, { mask = { keep = keep } }):flat())
  end)

  it("... and their tables outlive the scope in which they were used first", function()
    local q, k, v = operands { 1, 1, 1, 9, 9, 3 }
    local falls = { 0, 1, 2, 3, 4, 5, 6, 7, 8 }
    local program = mosaic.program.score(function(s, _, _, _, j) return s - falls[j] end)
    local function out() return mosaic.sdpa(q, k, v, { mask = { score = program } }):flat() end
    assert.same(mosaic.scope(out), mosaic.scope(out))
  end)

  it("run backward as they ran forward, whatever was changed between", function()
    local q, k, v = operands { 1, 1, 1, 9, 9, 3 }
    q:requires_grad_()
    local reach = 2
    local options = { mask = { keep = function(_, _, i, j) return math.abs(i - j) <= reach end } }
    local out = mosaic.sdpa(q, k, v, options)
    reach = 5
    out:sum():backward()
    local got = q.grad
    q.grad = nil
    mosaic.sdpa(q, k, v, { mask = { window = 2 } }):sum():backward()
    support.expect("dq", got, q.grad:flat(), 1e-14)
  end)
end)

describe("functions in masks refuse", function()
  local q, k, v = operands { 1, 2, 1, 5, 9, 3 }

  local function refuses(text, mask, options)
    options = options or {}
    options.mask = mask
    fails(text, function() mosaic.sdpa(q, k, v, options) end)
  end

  it("lookups outside of their tables, where these count", function()
    local short = { 1, 2, 3, 4, 5, 6, 7, 8 }
    for _, dtype in ipairs { "f64", "f32" } do
      q, k, v = operands({ 1, 2, 1, 5, 9, 3 }, dtype)
      local text = "looks up an entry that its table does not have, for b, h, i, j = 1, 1, 1, 9"
      refuses("attention: mask.score " .. text,
        { score = function(s, _, _, _, j) return s + short[j] end })
      refuses("attention: mask.keep " .. text,
        { keep = function(_, _, _, j) return short[j] > 0 end })
      refuses("attention: mask.score looks up an entry",
        { score = function(s, _, _, _, j) return s + short[j / 2] end })
      local counts = { score = function(s, _, _, _, j) return j <= 8 and s + short[j] or s end }
      local hidden = { prefix = 8, score = function(s, _, _, _, j) return s + short[j] end }
      local kept = { keep = function(_, _, _, j) return j > 8 or short[j] > 0 end }
      for _, mask in ipairs { counts, hidden, kept } do mosaic.sdpa(q, k, v, { mask = mask }) end
    end
  end)

  it("what is neither a function nor a tensor", function()
    refuses("sdpa: mask.score must be a function, got 3", { score = 3 })
    refuses("sdpa: mask.keep must be a tensor or a function, got true", { keep = true })
    refuses("sdpa: mask.keep is a program made by mosaic.program.score",
      { keep = mosaic.program.score(function(s) return s end) })
  end)
end)
