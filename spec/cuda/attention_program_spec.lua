local mosaic = require "mosaic"
local device = require "spec.support.device"
local on = require "spec.support.device_attention"
local support = require "spec.support.attention"

local values, operands = support.values, support.operands

--- Documents of 19 rows.
local function thirds(n)
  local list = {}
  for i = 1, n do list[i] = math.floor(i / 19) end
  return mosaic.tensor(list, { dtype = "i64" })
end

--- Functions of masks, given what tables are made on.
local programs = {
  ["a kept set"] = function()
    return { keep = function(_, h, i, j) return (i + j * h) % 3 ~= 0 and j <= i + 20 end }
  end,
  ["a kept set, causal"] = function()
    return { causal = true, keep = function(b, _, i, j) return (i - j) % (b + 1) == 0 or j < 5 end }
  end,
  ["nothing"] = function() return { keep = function() return false end } end,
  ["everything"] = function() return { keep = function(_, _, _, j) return j >= 1 end } end,
  ["a soft cap"] = function() return { score = function(s) return 0.5 * math.tanh(s / 0.5) end } end,
  ["scores that hide"] = function()
    return { score = function(s, b, _, i, j) return (i + j) % 3 == b and -math.huge or s * 2 end }
  end,
  ["look-ups"] = function(name)
    local bias = values({ 4, 17 }, 6):to { device = name }
    local first = mosaic.tensor({ 1, 2, 1, 4, 5 }, { dtype = "i64", device = name })
    return {
      score = function(s, _, h, i, j)
        return s + mosaic.lookup(bias, h, math.min(math.abs(i - j) + 1, 17))
      end,
      keep = function(_, _, i, j) return j >= mosaic.lookup(first, i % 5 + 1) end,
    }
  end,
  ["everything at once"] = function(name)
    return on.moved({
      window = { 29, 12 }, documents = { q = thirds(35), k = thirds(40) }, bias = values({ 1, 40 }, 4),
      alibi = mosaic.tensor({ 0.5, 0.25, 0.125, 0.0625 }, { dtype = "f32" }),
      keep = function(_, h, i, j) return i + j ~= 12 and h * i % 5 ~= 2 end,
      score = function(s, b, h, i, j)
        return i == j and s * s * s or math.min(s, 1) / (h + b) + math.log(i + j)
      end,
    }, name)
  end,
}

--- Masks with a look-up that leaves its table, for 65 queries and 70 keys.
local faulty = {
  score = function(numbers)
    return function(s, _, h, i, j) return h > 1 and i > 40 and s * mosaic.lookup(numbers, 70 - j) or s end
  end,
  keep = function(numbers)
    return function(b, _, i, j) return b < 2 or mosaic.lookup(numbers, i - 3 * j) > 0 end
  end,
}

local function message_of(kind, name)
  local numbers = mosaic.tensor({ 1, 2, 3 }, { dtype = "f64", device = name })
  local order = mosaic.arange(65, 1, -1, { dtype = "i64" })
  local q, k, v = unpack(on.moved({ operands({ 2, 2, 1, 65, 70, 4 }, "f32") }, name))
  local ok, message = pcall(mosaic.attention.forward, q, k, v, {
    mask = { causal = true, [kind] = faulty[kind](numbers) }, head_from = 1,
    q_positions = on.moved(order, name),
  })
  assert.is_false(ok)
  return tostring(message)
end

describe("functions of masks on a device", function()
  setup(function() on.choose "plain" end)
  teardown(function() on.choose(nil) end)

  for name, make in pairs(programs) do
    it("agree with the CPU: " .. name, function()
      on.agree_all({ 2, 4, 2, 35, 40, 6 }, function(where)
        return { mask = make(where), dropout = { p = 0.2, seed = 3 }, head_from = 1, batch_from = { 1, 2 } }
      end, { "f64", "f32" })
      if name == "everything at once" then return end -- for 35 queries and 40 keys
      on.agree_all({ 2, 4, 4, 5, 17, 70 }, function(where)
        return { mask = make(where) }
      end, { "f64", "bf16" })
    end)
  end

  it("skip tiles where they let nothing through, and do not ask where they let all through", function()
    local near = mosaic.tensor({ 1, 1, 0, 0, 0, 0, 0, 0 }, { dtype = "f64", device = device.name })
    local q, k, v = unpack(on.moved({ operands({ 1, 2, 1, 512, 512, 4 }, "f32") }, device.name))
    local function tiles(mask)
      mosaic.attention.reset_work()
      mosaic.attention.forward(q, k, v, { mask = mask })
      local work = mosaic.attention.work()
      return work.forward_tiles / math.max(work.forward, 1)
    end
    assert.is_true(tiles { keep = function(_, _, i, j) return j <= i end } < 1.2)
    assert.is_true(tiles { keep = function(_, h, i, j) return i - j < 200 * h and j - i < 100 end } < 1.4)
    assert.is_true(tiles { keep = function(_, _, i, j)
      return mosaic.lookup(near, math.floor(math.abs(i - j) / 64) + 1) > 0
    end } < 1.6)
    assert.is_true(tiles { score = function(s, _, _, i, j) return i < j and -math.huge or s end } <= 1)
    assert.equal(0, tiles { keep = function() return false end })
  end)

  for kind in pairs(faulty) do
    it("name the first look-up that leaves its table, as the CPU does: " .. kind, function()
      local expected = message_of(kind, "cpu")
      assert.truthy(expected:find("mask." .. kind .. " looks up an entry that its table", 1, true))
      assert.equal(expected, message_of(kind, device.name))
    end)
  end
end)
