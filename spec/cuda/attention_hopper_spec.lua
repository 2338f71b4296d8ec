--- Attention by warpgroups, for compute capability 9.0. Forward, weights are rounded once, to the operands'
-- dtype: a result is off by no more than that rounding times the largest value. Of gradients see
-- spec/support/device_gradients.lua.
local mosaic = require "mosaic"
local device = require "spec.support.device"
local device_gradients = require "spec.support.device_gradients"
local on = require "spec.support.device_attention"
local support = require "spec.support.attention"

local values, operands = support.values, support.operands
local distance, largest = support.distance, support.largest

--- Of a weight that is 1.
local ROUNDING = { bf16 = 2 ^ -9, f16 = 2 ^ -12 }

local function flat(x) return x:to { device = "cpu" }:to "f64":contiguous():flat() end

--- `view` makes operands of what is on either device.
local function forward_agrees(q, k, v, options, view)
  options, view = options or {}, view or function(...) return ... end
  local name = device.name
  local there = { view(on.moved(q, name), on.moved(k, name), on.moved(v, name)) }
  local out, lse = mosaic.attention.forward(there[1], there[2], there[3], on.moved(options, name))
  q, k, v = view(q, k, v)
  local true_out, true_lse = mosaic.attention.forward(q:to "f64", k:to "f64", v:to "f64", options)
  out, lse, true_out, true_lse = flat(out), flat(lse), flat(true_out), flat(true_lse)
  local worst = { out = distance(out, true_out), lse = distance(lse, true_lse) }
  local bounds = {
    out = (ROUNDING[q.dtype] + 3e-6) * largest(flat(v)),
    lse = 3e-6 * math.max(1, largest(true_lse)),
  }
  for result, bound in pairs(bounds) do
    assert(worst[result] <= bound, ("%s of %s is off by %.3g, more than %.3g"):format(result, q:describe(),
      worst[result], bound))
  end
end

local function agree(q, k, v, options)
  forward_agrees(q, k, v, options)
  device_gradients.agree(q, k, v, options)
end

local function numbers(n, f)
  local list = {}
  for i = 1, n do list[i] = f(i) end
  return mosaic.tensor(list, { dtype = "i64" })
end

local function shuffled(n, step) return numbers(n, function(i) return i * step % n + 1 end) end
local function documents(n, length) return numbers(n, function(i) return math.floor(i / length) end) end

--- For 270 queries and 390 keys.
local MASKS = {
  causal = { causal = true },
  ["a window"] = { window = { 1, 40 } },
  ["a prefix"] = { prefix = 130 },
  ["an empty prefix"] = { prefix = 0 },
  documents = { documents = { q = documents(270, 50), k = documents(390, 60) } },
  ["everything at once"] = {
    causal = true, window = { 220, 2 }, prefix = 300,
    documents = { q = documents(270, 90), k = documents(390, 90) },
  },
}

--- Neither way, of calls that other kernels are for.
local function is_refused(q, k, v, options)
  local there = device_gradients.there
  local forward = there(device_gradients.forward_of(q, k, v, q, options))
  q, k, v, forward.delta = there(q), there(k), there(v), forward.delta:to "f32"
  assert.error_matches(function() mosaic.attention.forward(q, k, v, options) end,
    "cannot do this forward: .-; it needs compute capability 9.0")
  assert.error_matches(function()
    mosaic.attention.backward(q:to "f32", forward.lse, forward.delta, q, k, v, options)
  end, "cannot do this backward")
end

describe("attention by warpgroups", function()
  if device.capability() ~= 90 then
    return pending "is for compute capability 9.0: of emulated devices, legs of scripts/run-specs.lua have it"
  end
  local wanted

  setup(function() wanted = os.getenv "MOSAIC_ATTENTION" end)
  before_each(function() on.choose "hopper" end)
  teardown(function() on.choose(wanted) end)

  it("rounds weights once: head sizes and dtypes", function()
    for _, kind in ipairs { { "bf16", 24 }, { "f16", 80 } } do
      local q, k, v = operands({ 1, 2, 1, 70, 200, kind[2] }, kind[1])
      agree(q, k, v)
      agree(q, k, v, { mask = { causal = true } })
    end
    forward_agrees(operands({ 1, 2, 1, 70, 300, 128 }, "bf16"))
  end)

  it("takes lengths that do not fill a tile, or fill several", function()
    for _, sizes in ipairs { { 64, 64 }, { 65, 129 }, { 192, 128 }, { 200, 710 }, { 385, 257 } } do
      agree(operands({ 1, 1, 1, sizes[1], sizes[2], 24 }, "bf16"))
    end
  end)

  it("takes scales that make weights alike, or all but one nothing", function()
    local q, k, v = operands({ 1, 2, 1, 70, 200, 24 }, "bf16")
    for _, scale in ipairs { 0.01, 1, 6 } do
      agree(q, k, v, { scale = scale })
      agree(q, k, v, { scale = scale, mask = { causal = true } })
    end
  end)

  it("leaves a scale of 0 or less to other kernels", function()
    local q, k, v = operands({ 1, 1, 1, 70, 80, 24 }, "bf16")
    for _, scale in ipairs { -0.2, 0 } do
      local options = { scale = scale, mask = { causal = true } }
      on.choose "hopper"
      is_refused(q, k, v, options)
      on.choose()
      agree(q, k, v, options)
    end
  end)

  for name, mask in pairs(MASKS) do
    it("masks as the CPU does: " .. name, function()
      local q, k, v = operands({ 1, 2, 1, 270, 390, 24 }, "bf16")
      forward_agrees(q, k, v, { mask = mask, scale = 0.3 })
      agree(q, k, v, { mask = mask, q_positions = shuffled(270, 7), k_positions = shuffled(390, 7) })
    end)
  end

  it("reads strides: a permuted axis, every other row, parts of rows", function()
    local q, k = values({ 2, 66, 3, 24 }, 1, "bf16"), values({ 2, 3, 140, 32 }, 2, "bf16")
    local v = values({ 70, 2, 3, 24 }, 3, "bf16")
    forward_agrees(q, k, v, { mask = { causal = true } }, function(a, b, c)
      return a:permute(1, 3, 2, 4), b:slice(3, 2, -1, 2):slice(4, 9, 32), c:permute(2, 3, 1, 4)
    end)
  end)

  it("adds gradients to what is there, and gives the same bits every time", function()
    local q, k, v = operands({ 1, 2, 1, 70, 200, 24 }, "bf16")
    local there, dout = device_gradients.there, values(q.shape, 7, "f32")
    local forward = device_gradients.forward_of(q, k, v, dout, {})
    forward.delta = forward.delta:to "f32"
    local function gradients(options)
      return device_gradients.gradients(there(q), there(k), there(v), there(dout), there(forward), options)
    end
    local alone, again = gradients(), gradients()
    local sums = gradients { into = there { q:to "f32", k:to "f32", v:to "f32" } }
    for name, before in pairs { dq = q, dk = k, dv = v } do
      assert.same(alone[name], again[name])
      for i, x in ipairs(before:to("f64"):flat()) do
        assert.is_true(math.abs(sums[name][i] - x - alone[name][i]) < 2e-6, name)
      end
    end
  end)

  it("never hides a NaN", function()
    for spoilt = 1, 3 do
      local tensors = { operands({ 1, 1, 1, 70, 70, 24 }, "bf16") }
      tensors[spoilt]:set(1, 1, 10, 2, 0 / 0)
      for i = 1, 3 do tensors[i] = on.moved(tensors[i], device.name) end
      local out = flat((mosaic.attention.forward(unpack(tensors))))
      for i = spoilt == 1 and 10 or 1, spoilt == 1 and 10 or 70 do
        assert.is_true(out[i * 24 - 22] ~= out[i * 24 - 22], "query " .. i)
      end
    end
  end)

  it("counts the pairs that it works on", function()
    local q, k, v = operands({ 1, 2, 1, 70, 300, 24 }, "bf16")
    for _, mask in ipairs { {}, { causal = true } } do
      local counts = {}
      for i, name in ipairs { "cpu", device.name } do
        mosaic.attention.reset_work()
        on.run(on.moved(q, name), on.moved(k, name), on.moved(v, name), { mask = mask },
          on.moved(values(q.shape, 7, "f32"), name))
        counts[i] = mosaic.attention.work()
      end
      assert.equal(counts[1].forward, counts[2].forward)
      assert.equal(counts[1].backward, counts[2].backward)
    end
  end)
end)
