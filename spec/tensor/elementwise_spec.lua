local mosaic = require "mosaic"
local close = require "spec.support.close"
local fails = require "spec.support.fails"

local HUGE, NAN = math.huge, 0 / 0

--- The functions once more, in plain Lua doubles.
local function erf(x) -- the Taylor series converges everywhere; 100 terms do for |x| < 4
  local sum, term = x, x
  for n = 1, 100 do
    term = -term * x * x / n
    sum = sum + term / (2 * n + 1)
  end
  return 2 / math.sqrt(math.pi) * sum
end
local function sigmoid(x) return 1 / (1 + math.exp(-x)) end
local function round(x)
  local down = math.floor(x)
  local up = x - down > 0.5 or (x - down == 0.5 and down % 2 == 1)
  return up and down + 1 or down
end
local PLAIN = {
  neg = function(x) return -x end, abs = math.abs, square = function(x) return x * x end,
  sign = function(x) return x > 0 and 1 or x < 0 and -1 or 0 end,
  relu = function(x) return math.max(x, 0) end, floor = math.floor, ceil = math.ceil, round = round,
  reciprocal = function(x) return 1 / x end, exp = math.exp,
  expm1 = function(x) return math.exp(x) - 1 end, sin = math.sin, cos = math.cos, tanh = math.tanh,
  sigmoid = sigmoid, erf = erf, gelu = function(x) return 0.5 * x * (1 + erf(x / math.sqrt(2))) end,
  silu = function(x) return x * sigmoid(x) end, softplus = function(x) return math.log(1 + math.exp(x)) end,
  elu = function(x) return x > 0 and x or math.exp(x) - 1 end,
  selu = function(x) return 1.0507009873554805 * (x > 0 and x or 1.6732632423543772 * (math.exp(x) - 1)) end,
  leaky_relu = function(x) return x > 0 and x or 0.01 * x end,
  relu6 = function(x) return math.min(math.max(x, 0), 6) end,
  hardtanh = function(x) return math.min(math.max(x, -1), 1) end,
  logical_not = function(x) return x == 0 and 1 or 0 end,
}
local PLAIN_POSITIVE = {
  sqrt = math.sqrt, rsqrt = function(x) return 1 / math.sqrt(x) end, log = math.log,
  log2 = function(x) return math.log(x) / math.log(2) end, log1p = function(x) return math.log(1 + x) end,
}

local function map(values, f)
  local results = {}
  for i, x in ipairs(values) do results[i] = f(x) end
  return results
end

local function samples(from, to, count)
  local values = {}
  for i = 0, count - 1 do values[i + 1] = from + (to - from) * i / (count - 1) end
  return values
end

describe("functions of one operand", function()
  local BOUND = { f64 = 1e-12, f32 = 5e-7, bf16 = 2 ^ -7, f16 = 2 ^ -9 }

  local function check(name, f, values)
    for dtype, bound in pairs(BOUND) do
      local x = mosaic.tensor(values, { dtype = dtype })
      close(x[name](x), map(x:flat(), f), bound)
    end
    local strided = mosaic.tensor(values, { dtype = "f64" }):view(11, 7):t():slice(1, 1, 7, 2)
    local out = strided[name](strided)
    assert.same({ 4, 11 }, out.shape)
    close(out:flat(), map(strided:flat(), f))
  end

  for name, f in pairs(PLAIN) do
    it(name .. " agrees with plain Lua in every float dtype", function()
      check(name, f, samples(-3, 3.1, 77))
    end)
  end
  for name, f in pairs(PLAIN_POSITIVE) do
    it(name .. " agrees with plain Lua in every float dtype", function()
      check(name, f, samples(0.02, 9, 77))
    end)
  end

  it("keeps the parameters of softplus, elu, leaky_relu and gelu", function()
    local x = mosaic.tensor({ -2, 0.5 }, { dtype = "f64" })
    close(x:softplus(3), { math.log(1 + math.exp(-6)) / 3, math.log(1 + math.exp(1.5)) / 3 })
    close(x:elu(0.5), { 0.5 * (math.exp(-2) - 1), 0.5 })
    close(x:leaky_relu(0.2), { -0.4, 0.5 })
    local inner = math.sqrt(2 / math.pi) * (0.5 + 0.044715 * 0.125)
    close(x:gelu("tanh"):get(2), 0.25 * (1 + math.tanh(inner)))
    fails("gelu: approximation \"tahn\" is not one of none, tanh (did you mean 'tanh'?)",
      function() x:gelu "tahn" end)
  end)

  it("clamps from either side or both, and says when neither is given", function()
    local x = mosaic.tensor { -2, 0, 5 }
    assert.same({ -1, 0, 3 }, x:clamp(-1, 3):flat())
    assert.same({ -2, 0, 3 }, x:clamp(nil, 3):flat())
    assert.same({ 1, 1, 5 }, x:to("i64"):clamp(1):flat())
    fails("clamp: at least one of min and max is needed", function() x:clamp() end)
  end)

  it("refuses to clamp to what is no interval, or to ends that integers do not have", function()
    local x = mosaic.tensor { -2, 0, 5 }
    fails("clamp: no number is in [3, 2]", function() x:clamp(3, 2) end)
    fails("clamp: no number is in [", function() x:clamp(0 / 0, 2) end)
    fails("clamp: min 0.5 and max 1.5 of i64 [3] must be integers",
      function() x:to("i64"):clamp(0.5, 1.5) end)
    assert.same({ 2, 2, 2 }, x:clamp(2, 2):flat())
    assert.same({ 0, 0, 1 }, x:to("u8"):clamp(nil, 1):flat())
  end)

  it("has the right limits at infinity, around zero and for NaN, in f32 too", function()
    for _, dtype in ipairs { "f64", "f32" } do
      local x = mosaic.tensor({ -HUGE, HUGE, NAN, 0 }, { dtype = dtype })
      local limits = {
        exp = { 0, HUGE, NAN, 1 }, log = { NAN, HUGE, NAN, -HUGE }, tanh = { -1, 1, NAN, 0 },
        sigmoid = { 0, 1, NAN, 0.5 }, erf = { -1, 1, NAN, 0 }, relu = { 0, HUGE, NAN, 0 },
        softplus = { 0, HUGE, NAN, math.log(2) }, sqrt = { NAN, HUGE, NAN, 0 }, log1p = { NAN, HUGE, NAN, 0 },
        sign = { -1, 1, NAN, 0 }, isnan = { 0, 0, 1, 0 }, isfinite = { 0, 0, 0, 1 },
      }
      for name, expected in pairs(limits) do close(x[name](x), expected, 1e-7) end
    end
    local tiny = mosaic.tensor({ 1e-30, -1e-30, 1e-42 }):log():get(1)
    close(tiny, math.log(1e-30), 1e-7)
    close(mosaic.tensor({ 1e-42 }):log():item(), math.log(1e-42), 1e-3)
    close(mosaic.tensor({ -87.5, -95, 88.7 }):exp():div(mosaic.tensor { 1e-38, 5.5e-42, 3e38 }),
      { math.exp(-87.5) / 1e-38, math.exp(-95) / 5.5e-42, math.exp(88.7) / 3e38 }, 2e-3)
    close(mosaic.tensor({ 1e-20, 1e-5 }):log1p():div(mosaic.tensor { 1e-20, 1e-5 }), { 1, 0.999995 }, 1e-6)
    close(mosaic.tensor({ 1e-20 }):tanh():item() / 1e-20, 1, 1e-6)
  end)

  it("takes sines and cosines of large f32 numbers, tiny ones too, to the last bit or so", function()
    local list = { 3e8, 9.99e8, 1.001e9, 3e12, -7e7 }
    for _, n in ipairs { 1, 10, 1000, 318309, 1e6 + 1, 4e7 + 3, 3.1e8 } do
      list[#list + 1], list[#list + 2] = n * math.pi, -(n + 0.5) * math.pi
    end
    for _, value in ipairs(list) do
      local x = mosaic.tensor { value, value }
      local rounded = x:get(1)
      close(x:sin():get(2) / math.sin(rounded), 1, 1.3e-7)
      close(x:cos():get(2) / math.cos(rounded), 1, 1.3e-7)
    end
  end)

  it("leaves integers integers where that makes sense, else gives f32", function()
    local x = mosaic.tensor({ -3, 2 }, { dtype = "i32" })
    assert.equal("i32", x:abs().dtype)
    assert.same({ 9, 4 }, x:square():flat())
    assert.same({ -3, 2 }, x:round():flat())
    assert.equal("f32", x:exp().dtype)
    assert.same({ 0, 0 }, x:isnan():flat())
    assert.equal("u8", x:isnan().dtype)
  end)
end)

describe("operations on two operands", function()
  local x = mosaic.tensor { { 1, 2, 3 }, { 4, 5, 6 } }

  it("broadcast, with tensors and numbers on either side", function()
    assert.same({ { 11, 22, 33 }, { 14, 25, 36 } }, (x + mosaic.tensor { 10, 20, 30 }):tolist())
    assert.same({ { 2, 3, 4 }, { 6, 7, 8 } }, (mosaic.tensor { { 1 }, { 2 } } + x):tolist())
    assert.same({ 11, 21, 12, 22 }, (mosaic.tensor { { 1 }, { 2 } } + mosaic.tensor { 10, 20 }):flat())
    assert.same({ 0, -1, -2, -3, -4, -5 }, (1 - x):flat())
    assert.same({ 2, 4, 8, 16, 32, 64 }, (2 ^ x):flat())
    close((6 / x):flat(), { 6, 3, 2, 1.5, 1.2, 1 }, 1e-7)
    assert.same({ 1, 4, 9, 16, 25, 36 }, (x ^ 2):flat())
    assert.same({ -1, -2, -3, -4, -5, -6 }, (-x):flat())
    assert.same({ 4, 9, 14, 19, 24, 29 }, x:add(x, 4):sub(-2):sub(3):flat())
  end)

  it("read any strides, longer than a block and of other dtypes", function()
    local rows, columns = 61, 37
    local a = mosaic.arange(1, rows * columns):view(rows, columns)
    local sum = a:t():to("f64"):t() + a:to "i32"
    assert.same(map(a:flat(), function(v) return 2 * v end), sum:flat())
    local product = a:t():to("bf16") * a:t():slice(1, 1, columns, 1):to("f32")
    close(product:get(2, 3), 76 * 76)
    local long = mosaic.arange(1, 3000):to "f32"
    local mixed = long:view(2, 1500):t() * mosaic.tensor({ 2, 3 }, { dtype = "f64" })
    assert.same({ 3000, 9000 }, mixed[1500]:flat())
  end)

  it("maximum and minimum let NaN through", function()
    local a, b = mosaic.tensor { 1, NAN, 3 }, mosaic.tensor { 2, 2, NAN }
    close(a:maximum(b), { 2, NAN, NAN })
    close(a:minimum(b), { 1, NAN, NAN })
    assert.same({ 2, 2, 3 }, mosaic.tensor({ 1, 2, 3 }):maximum(2):flat())
  end)

  it("compare to u8, and combine truth values", function()
    local a, b = mosaic.tensor { 1, 2, 3 }, mosaic.tensor { 3, 2, 1 }
    local expected = { eq = { 0, 1, 0 }, ne = { 1, 0, 1 }, lt = { 1, 0, 0 }, le = { 1, 1, 0 },
      gt = { 0, 0, 1 }, ge = { 0, 1, 1 } }
    for name, values in pairs(expected) do
      local truth = a[name](a, b)
      assert.equal("u8", truth.dtype)
      assert.same(values, truth:flat())
    end
    assert.same({ 0, 1, 1 }, a:gt(1):logical_and(b):flat())
    assert.same({ 1, 0, 1 }, a:eq(1):logical_or(b:eq(1)):flat())
    local whole = mosaic.tensor({ 2, 3, 4 }, { dtype = "i64" })
    assert.same({ 0, 1, 0 }, whole:gt(2.5):logical_xor(a:eq(3)):flat())
    assert.is_true(a == a)
    assert.is_false(a == b)
  end)

  it("raise to any power", function()
    close(mosaic.tensor({ 4, 9 }, { dtype = "f64" }) ^ 0.5, { 2, 3 })
    assert.same({ 8, -27, 1 }, (mosaic.tensor({ 2, -3, 0 }, { dtype = "i64" })
      ^ mosaic.tensor({ 3, 3, 0 }, { dtype = "i64" })):flat())
    assert.same({ 0, 1, -1, 0 }, (mosaic.tensor({ 2, 1, -1, 0 }, { dtype = "i64" }) ^ -1):flat())
  end)

  it("divide integers to f32, or down to integers, and never trap on zero", function()
    local a = mosaic.tensor({ 7, -7, 5 }, { dtype = "i64" })
    local quotient = a / mosaic.tensor({ 2, 2, 0 }, { dtype = "i64" })
    assert.equal("f32", quotient.dtype)
    assert.same({ 3.5, -3.5, HUGE }, quotient:flat())
    assert.same({ 3, -4, 0 }, a:floor_divide(mosaic.tensor({ 2, 2, 0 }, { dtype = "i64" })):flat())
    assert.same({ 1, 1, 5 }, (a % mosaic.tensor({ 2, 2, 0 }, { dtype = "i64" })):flat())
    close(mosaic.tensor({ 5.5, -5.5 }) % 2, { 1.5, 0.5 })
    close(7 % mosaic.tensor { 2, -2 }, { 1, -1 })
    local least = mosaic.tensor({ -2 ^ 62 }, { dtype = "i64" }) * 2
    assert.same({ -2 ^ 63 }, least:floor_divide(-1):flat())
    assert.same({ 0 }, (least % -1):flat())
  end)

  it("promote dtypes as PyTorch does", function()
    local function dtype(a, b)
      return (mosaic.zeros { 2, dtype = a } + mosaic.zeros { 2, dtype = b }).dtype
    end
    assert.equal("f64", dtype("f32", "f64"))
    assert.equal("f32", dtype("bf16", "f32"))
    assert.equal("f32", dtype("bf16", "f16"))
    assert.equal("bf16", dtype("bf16", "i64"))
    assert.equal("i64", dtype("i32", "i64"))
    assert.equal("i32", dtype("u8", "i32"))
    local vector, scalar = mosaic.zeros { 2, dtype = "bf16" }, mosaic.zeros { dtype = "f64" }
    assert.equal("bf16", (vector + scalar).dtype)
    assert.equal("f64", (mosaic.zeros { 2, dtype = "i64" } * scalar).dtype)
    assert.equal("i32", (mosaic.zeros { 2, dtype = "i32" } + 1).dtype)
    assert.equal("f32", (mosaic.zeros { 2, dtype = "i32" } + 0.5).dtype)
    assert.equal("f16", (mosaic.zeros { 2, dtype = "f16" } + 0.1).dtype)
  end)

  it("refuse what is no operand, and shapes that do not broadcast", function()
    fails('add: expected a tensor (or a number), got "a"', function() local _ = x:add "a" end)
    fails('sub: alpha must be a number, got "2"', function() local _ = x:sub(1, "2") end)
    fails("mul: f32 [2,3] and f32 [3,2] do not broadcast", function() local _ = x * x:t() end)
  end)

  it("take empty and scalar operands", function()
    assert.same({ 0, 3 }, (mosaic.zeros { 0, 3 } + mosaic.ones { 3 }).shape)
    assert.same({ 0, 3 }, mosaic.zeros({ 0, 3 }):exp().shape)
    assert.equal(5, (mosaic.tensor(2) + mosaic.tensor(3)):item())
  end)
end)

describe("choices", function()
  local x = mosaic.tensor { { 1, 2 }, { 3, 4 } }

  it("where picks from tensors and numbers, and broadcasts", function()
    assert.same({ 0, 0, 3, 4 }, mosaic.where(x:gt(2), x, 0):flat())
    assert.same({ 9, 9, 3, 4 }, mosaic.where(x:le(2), 9, x):flat())
    assert.same({ 1, 20, 3, 20 }, mosaic.where(mosaic.tensor({ 1, 0 }, { dtype = "u8" }), x,
      mosaic.tensor { 20 }):flat())
    assert.same({ 1, 1, 2, 2 }, mosaic.where(x:le(2), 1, 2):flat())
    fails("where: the condition must be u8 (as comparisons give), got f32 [2,2]",
      function() mosaic.where(x, x, 0) end)
  end)

  it("masked_fill keeps the dtype", function()
    local counts = mosaic.tensor({ 1, 2, 3 }, { dtype = "i64" })
    local filled = counts:masked_fill(counts:gt(1), -1)
    assert.equal("i64", filled.dtype)
    assert.same({ 1, -1, -1 }, filled:flat())
    assert.same({ 1, 0.5, 0.5 }, mosaic.where(counts:gt(1), 0.5, counts):flat())
    fails("where: a result of dtype f32 cannot be written to i64 [3]",
      function() counts:masked_fill_(counts:gt(1), 0.5) end)
  end)

  it("lerp, addcmul and addcdiv", function()
    assert.same({ 2, 4, 6, 8 }, x:lerp(x * 5, 0.25):flat())
    assert.same({ 7, 14, 21, 28 }, x:addcmul(x, mosaic.tensor(2), 3):flat())
    assert.same({ 1.5, 2.5, 3.5, 4.5 }, x:addcdiv(x, x, 0.5):flat())
  end)
end)

describe("in-place forms", function()
  it("write their first operand and return it", function()
    local x = mosaic.tensor { 1, 2, 3 }
    local y = x:view(3)
    assert.equal(x, x:add_(1):mul_(mosaic.tensor { 2, 3, 4 }):neg_())
    assert.same({ -4, -9, -16 }, y:flat())
    assert.same({ 4, 9, 16 }, x:abs_():flat())
    assert.same({ 0, 9, 16 }, x:masked_fill_(x:lt(5), 0):flat())
    assert.same({ 0, 3, 4 }, x:sqrt_():flat())
    assert.same({ 1, 3, 3 }, x:clamp_(1, 3):flat())
    assert.same({ 1, 2, 2 }, x:lerp_(mosaic.ones { 3 }, 0.5):flat())
  end)

  it("write into strided views, and keep the dtype", function()
    local x = mosaic.zeros { 3, 2, dtype = "bf16" }
    x:t():select(1, 2):add_(mosaic.tensor({ 1, 2, 3 }, { dtype = "f64" }))
    assert.same({ 0, 1, 0, 2, 0, 3 }, x:flat())
    fails("add: a result of dtype f32 cannot be written to i64 [2]",
      function() mosaic.zeros({ 2, dtype = "i64" }):add_(0.5) end)
  end)

  it("read an overlapping operand before they overwrite it", function()
    local x = mosaic.tensor { 1, 2, 3, 4, 5 }
    x:slice(1, 2, 5):add_(x:slice(1, 1, 4))
    assert.same({ 1, 3, 5, 7, 9 }, x:flat())
    local square = mosaic.tensor { { 1, 2 }, { 3, 4 } }
    assert.same({ 2, 5, 5, 8 }, square:add_(square:t()):flat())
    assert.same({ 0, 3, 3, 6 }, square:sub_(square:select(1, 1):select(1, 1)):flat())
  end)

  it("refuse shapes that would grow, expanded targets and tensors on the tape", function()
    local x = mosaic.zeros { 2 }
    fails("add: the output must be f32 [3,2]", function() x:add_(mosaic.ones { 3, 2 }) end)
    fails("mul: cannot write to f32 [3,2], whose axis 1 is expanded; clone it first",
      function() x:expand(3, 2):mul_(2) end)
    local leaf = mosaic.ones { 2, requires_grad = true }
    fails("add_: f32 [2] takes part in a gradient", function() leaf:add_(1) end)
    fails("add_: f32 [2] takes part in a gradient", function() x:add_(leaf) end)
    mosaic.no_grad(function() leaf:add_(1) end)
    assert.same({ 2, 2 }, leaf:flat())
  end)
end)
