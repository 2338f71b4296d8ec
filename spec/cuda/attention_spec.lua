local ffi = require "ffi"
local mosaic = require "mosaic"
local dense = require "spec.support.dense"
local device = require "spec.support.device"
local program = require "spec.support.program"
local fails = require "spec.support.fails"
local on = require "spec.support.device_attention"
local support = require "spec.support.attention"

local documents, keep = support.documents, support.keep
local values, operands, distance = support.values, support.operands, support.distance
local agree, agree_all, moved, run = on.agree, on.agree_all, on.moved, on.run

local function positions(n, f)
  local list = {}
  for i = 1, n do list[i] = f(i - 1) end
  return mosaic.tensor(list, { dtype = "i64" })
end

--- The numbers 1..n in an order that jumps about.
local function shuffled(n, step) return positions(n, function(i) return i * step % n + 1 end) end

local slopes = mosaic.tensor({ 0.5, 0.25, 0.125, 0.0625 }, { dtype = "f32" })

--- Masks for 2 batch entries and 4 heads.
local function masks(nq, nk)
  return {
    causal = { causal = true },
    ["a window"] = { window = 3 },
    ["a lopsided window"] = { window = { 1, 4 } },
    ["a wide window"] = { causal = true, window = { 40, 0 } },
    ["a prefix"] = { prefix = 6 },
    ["an empty prefix"] = { prefix = 0 },
    documents = { documents = { q = documents(nq, 4), k = documents(nk, 5) } },
    ["documents per batch entry"] = { documents = { q = documents(nq, 4, 2), k = documents(nk, 5, 2) } },
    alibi = { alibi = slopes },
    ["a kept set"] = { keep = keep { nq, nk } },
    ["a kept set per head"] = { keep = keep { 2, 4, 1, nk } },
    ["a kept set of tiles"] = {
      keep = mosaic.tensor(positions(nq * nk, function(n)
        return math.floor(n / nk / 32) == math.floor(n % nk / 32) and 1 or 0
      end):tolist(), { dtype = "u8" }):view(nq, nk),
    },
    ["a bias"] = { bias = values({ 4, nq, nk }, 4) },
    ["a bias of keys"] = { bias = values({ 2, 1, 1, nk }, 4) },
    ["a bias of queries"] = { bias = values({ 1, 4, nq, 1 }, 4) },
    ["a bias of nothing"] = { bias = values({ 1 }, 4) },
    ["everything at once"] = {
      causal = true, window = { 29, 2 }, prefix = 34, alibi = slopes, keep = keep { 4, nq, nk },
      documents = { q = documents(nq, 19), k = documents(nk, 19) }, bias = values({ 1, nk }, 4),
    },
  }
end

ffi.cdef "int setenv(const char *name, const char *value, int overwrite); int unsetenv(const char *name);"

--- f() while MOSAIC_ATTENTION has that value.
local function with_path(name, f)
  local before = os.getenv "MOSAIC_ATTENTION"
  ffi.C.setenv("MOSAIC_ATTENTION", name, 1)
  local ok, message = pcall(f)
  if before then ffi.C.setenv("MOSAIC_ATTENTION", before, 1) else ffi.C.unsetenv "MOSAIC_ATTENTION" end
  if not ok then error(message, 0) end
end

describe("attention on a device", function()
  setup(function() on.choose "plain" end)
  teardown(function() on.choose(nil) end)

  for name in pairs(masks(13, 17)) do
    it("agrees with the CPU, masked by " .. name, function()
      for _, sizes in ipairs { { 2, 4, 2, 13, 17, 5 }, { 2, 4, 2, 65, 130, 24 } } do
        local nq, nk = sizes[4], sizes[5]
        local mask = masks(nq, nk)[name]
        agree_all(sizes, { mask = mask }, nq < 20 and { "f64", "f32" } or { "f32", "bf16" })
        agree_all(sizes, { mask = mask, scale = 1.3, q_positions = shuffled(nq, 5),
          k_positions = shuffled(nk, 7) }, { "f64" })
      end
    end)
  end

  it("agrees with plain doubles", function()
    for _, mask in ipairs { {}, { causal = true, window = { 4, 0 } } } do
      local q, k, v = operands { 1, 2, 1, 13, 17, 5 }
      local dout = values(q.shape, 7)
      local truth = dense.gradients(q, k, v, dout:flat(), nil, { mask = mask })
      local forward, name = dense.attention(q, k, v, { mask = mask }), device.name
      truth.out, truth.lse = forward.out, forward.lse
      local found = run(moved(q, name), moved(k, name), moved(v, name), { mask = mask }, moved(dout, name))
      for _, result in ipairs { "out", "lse", "dq", "dk", "dv" } do
        assert.is_true(distance(found[result], truth[result]) <= 1e-12, result)
      end
    end
  end)

  it("takes head sizes from 1 to 256", function()
    for _, d in ipairs { 1, 3, 8, 24, 40, 64, 100, 256 } do
      agree_all({ 1, 2, 1, 13, 33, d }, { mask = { causal = true } })
    end
  end)

  it("takes lengths that do not fill a tile, or fill several", function()
    for _, nq in ipairs { 1, 13, 65, 130 } do
      for _, nk in ipairs { 1, 13, 65, 130 } do
        agree_all({ 1, 1, 1, nq, nk, 6 }, { mask = { window = { 70, 20 } } }, { "f64", "f16" })
      end
    end
  end)

  it("takes zero, one or two batch axes, and groups of heads", function()
    for _, front in ipairs { { 4, 3 }, { 2, 4, 3 }, { 2, 6, 4, 3 }, { 2, 3, 6, 4, 3 } } do
      local keys = { unpack(front) }
      keys[#keys - 1] = 5
      if #keys > 2 then keys[#keys - 2] = 2 end
      agree(values(front, 1), values(keys, 2), values(keys, 3), { mask = { causal = true } })
    end
  end)

  it("reads any strides, and writes where it is told", function()
    local name = device.name
    for _, dtype in ipairs { "f64", "bf16" } do
      local q = values({ 2, 13, 3, 8 }, 1, dtype):permute(1, 3, 2, 4)
      local k = values({ 8, 2, 17, 3 }, 2, dtype):permute(2, 4, 3, 1)
      local v = values({ 2, 3, 34, 8 }, 3, dtype)
      agree(q, k, v:slice(3, 2, -1, 2))
      agree(q, k, v:slice(1, 1, 1):slice(3, 2, -1, 2):expand(2, 3, 17, 8))
      local there = moved(v, name):slice(3, 2, -1, 2)
      local place = mosaic.zeros { 2, 13, 3, 8, dtype = dtype == "f64" and "f64" or "f32", device = name }
      local out = mosaic.attention.forward(moved(q, name), moved(k, name), there)
      mosaic.attention.forward(moved(q, name), moved(k, name), there, { out = place:permute(1, 3, 2, 4) })
      assert.same(out:contiguous():flat(), place:permute(1, 3, 2, 4):contiguous():flat())
      local expanded = moved(v, name):slice(1, 1, 1):slice(3, 2, -1, 2)
      out = mosaic.attention.forward(moved(q, name), moved(k, name), expanded:expand(2, 3, 17, 8))
      assert.same(mosaic.attention.forward(moved(q, name), moved(k, name),
        expanded:expand(2, 3, 17, 8):contiguous()):contiguous():flat(), out:contiguous():flat())
    end
  end)

  it("knows rows by their positions: zigzag and striped", function()
    local n, p = 48, 3
    for r = 0, p - 1 do
      local function zigzag(i)
        return i < n / 2 and r * n / 2 + i + 1 or (2 * p - 1 - r) * n / 2 + i - n / 2 + 1
      end
      local function striped(i) return i * p + r + 1 end
      for _, layout in ipairs { zigzag, striped } do
        agree_all({ 1, 2, 2, n, n, 8 }, { mask = { causal = true, window = { 60, 0 } },
          q_positions = positions(n, layout), k_positions = positions(n, function(i) return i * p + 1 end) },
          { "f64", "f32" })
      end
    end
  end)

  it("gives 0 and -inf to a query without keys", function()
    local first = positions(40, function(i) return i + 20 end)
    agree_all({ 1, 1, 1, 40, 40, 4 }, { mask = { causal = true }, k_positions = first })
    for _, dtype in ipairs { "f32", "f64" } do
      local q = moved(values({ 1, 1, 3, 2 }, 1, dtype), device.name)
      local none = mosaic.zeros { 1, 1, 0, 2, dtype = dtype, device = device.name }
      local out, lse = mosaic.attention.forward(q, none, none)
      assert.same({ 0, 0, 0, 0, 0, 0 }, out:flat())
      assert.same({ -math.huge, -math.huge, -math.huge }, lse:flat())
    end
  end)

  it("never hides a NaN", function()
    for _, spoilt in ipairs { 1, 2, 3 } do
      local tensors = { operands({ 1, 1, 1, 40, 40, 3 }, "f32") }
      tensors[spoilt]:set(1, 1, 10, 2, 0 / 0)
      for i = 1, 3 do tensors[i] = moved(tensors[i], device.name) end
      local out = mosaic.attention.forward(unpack(tensors)):flat()
      local from, to = spoilt == 1 and 10 or 1, spoilt == 1 and 10 or 40
      for i = from, to do assert.is_true(out[i * 3 - 1] ~= out[i * 3 - 1], "query " .. i) end
    end
  end)

  it("drops what the CPU drops, by numbers of the whole", function()
    for _, options in ipairs {
      { dropout = { p = 0.3, seed = 7 } },
      { dropout = { p = 0.9, seed = 2 ^ 52 + 1 }, mask = { causal = true }, head_from = 3,
        batch_from = { 4, 2 }, batch_total = 9, q_positions = positions(35, function(i) return 3 * i + 2 end),
        k_positions = positions(50, function(i) return 2 ^ 34 - i * 3 end) },
    } do
      agree_all({ 2, 4, 2, 35, 50, 6 }, options, { "f64", "f32" })
    end
  end)

  it("adds gradients to what is there", function()
    local name = device.name
    local q, k, v = operands { 1, 4, 2, 35, 40, 6 }
    local options = { mask = { bias = values({ 4, 1, 40 }, 4) } }
    local dout, results = values(q.shape, 7), {}
    for _, where in ipairs { "cpu", name } do
      local into = { values(q.shape, 1), values(k.shape, 2), values(v.shape, 3), values({ 4, 1, 40 }, 5) }
      results[where] = run(moved(q, where), moved(k, where), moved(v, where), moved(options, where),
        moved(dout, where), nil, moved(into, where))
    end
    for result, expected in pairs(results.cpu) do
      assert.is_true(distance(results[name][result], expected) <= 1e-12, result)
    end
  end)

  it("gives the same bits every time", function()
    local name = device.name
    local q, k, v = operands({ 2, 4, 2, 65, 70, 24 }, "f32")
    local options = moved({ mask = { causal = true, bias = values({ 1, 1 }, 4, "f32") } }, name)
    local dout = moved(values(q.shape, 7, "f32"), name)
    q, k, v = moved(q, name), moved(k, name), moved(v, name)
    assert.same(run(q, k, v, options, dout), run(q, k, v, options, dout))
  end)

  it("counts the pairs that it works on", function()
    local q, k, v = operands({ 2, 4, 2, 65, 70, 8 }, "f32")
    local dout = values(q.shape, 7, "f32")
    for _, mask in ipairs { {}, { causal = true }, { prefix = 0 }, { keep = keep { 65, 70 } } } do
      local counts = {}
      for i, name in ipairs { "cpu", device.name } do
        mosaic.attention.reset_work()
        run(moved(q, name), moved(k, name), moved(v, name), moved({ mask = mask }, name), moved(dout, name))
        counts[i] = mosaic.attention.work()
      end
      assert.equal(counts[1].forward, counts[2].forward)
      assert.equal(counts[1].backward, counts[2].backward)
      local tiles = counts[2].forward_tiles
      assert.is_true(tiles >= counts[1].forward and tiles <= 2 * 4 * 65 * 70)
    end
  end)

  it("takes the path that MOSAIC_ATTENTION names, or says why not", function()
    if device.name == "cpu" then return pending "the CPU has no paths" end
    local q, k, v = unpack(moved({ operands({ 1, 2, 2, 5, 7, 3 }, "f64") }, device.name))
    local function attend() mosaic.attention.forward(q, k, v) end
    with_path("plain", attend)
    with_path("auto", attend)
    local text = "attention: MOSAIC_ATTENTION=fast is not one of auto, mosaic, "
    with_path("fast", function() fails(text, attend) end)
  end)

  it("has no NaN where all scores of a part of the keys are too large below", function()
    if device.name == "cpu" then return pending "the CPU has no paths" end
    local q = mosaic.ones { 1, 1, 2, 5, dtype = "bf16" } * 1e20
    local k = mosaic.ones { 1, 1, 130, 5, dtype = "bf16" } * -1e20
    k:narrow(3, 129, 2):fill_(0)
    local v = mosaic.ones { 1, 1, 130, 5, dtype = "bf16" }
    local there = moved({ q, k, v }, device.name)
    with_path("tensor", function()
      local out, lse = mosaic.attention.forward(unpack(there))
      assert.equal(1, out:flat()[1])
      assert.is_true(math.abs(lse:flat()[1] - math.log(2)) < 1e-5)
    end)
  end)

  it("is the plain path's where shared memory is short: f32, heads of 128, capability 8.6", function()
    device.emulated_only "is of any capability"
    local script = program.script [[
      local mosaic = require "mosaic"
      local q = mosaic.ones { 1, 1, 3, 128, device = "cuda" }:requires_grad_()
      mosaic.sdpa(q, q, q):sum():backward()
      print(q.grad:flat()[1])
    ]]
    local function attend(capability, path)
      local env = "MOSAIC_EMULATED_CAPABILITY=%d MOSAIC_ATTENTION=%s"
      return program(script, { env = env:format(capability, path) })
    end
    local text = "MOSAIC_ATTENTION=tensor cannot do this"
    local large, small, free = attend(80, "tensor"), attend(86, "tensor"), attend(86, "auto")
    os.remove(script)
    assert.equal("", large.err)
    assert.truthy(small.err:find(text, 1, true), small.err)
    assert.is_true(math.abs(tonumber(large.out) - tonumber(free.out)) < 1e-5)
  end)
end)
