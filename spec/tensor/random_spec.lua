local mosaic = require "mosaic"
local close = require "spec.support.close"
local fails = require "spec.support.fails"

describe("random numbers", function()
  it("are Philox4x32-10: the published answer for counter 0, key 0", function()
    -- Random123's known answer: 6627e8d5 e169c58d bc57ac4c 9b00dbd8
    local u = mosaic.rand { 1, dtype = "f64", generator = mosaic.generator(0) }
    local low, high = 0x6627e8d5, 0xe169c58d
    assert.equal((high * 2 ^ 32 + (low - low % 2 ^ 11)) / 2 ^ 64, u:item())
  end)

  it("normal ones are Box and Muller's of the same bits", function()
    local g = mosaic.generator(0)
    local angle = (0x9b00dbd8 * 2 ^ 32 + 0xbc57ac4c) / 2 ^ 64
    local radius = math.sqrt(-2 * math.log(1 - (0xe169c58d * 2 ^ 32 + 0x6627e8d5) / 2 ^ 64))
    local x = mosaic.randn { 1, dtype = "f64", generator = g }
    close(x:item(), radius * math.cos(2 * math.pi * angle), 1e-14)
  end)

  it("are these bits on every ISA: seeds, streams and indices of more than 32 bits, many blocks", function()
    local g = mosaic.generator(2 ^ 40 + 5):seek(2 ^ 33 + 1)
    local function picked(t, ...)
      local all, list = t:flat(), {}
      for i, at in ipairs { ... } do list[i] = all[at] end
      return list
    end
    assert.same({ -1.4012899768460423, 0.47298467100893465, 0.88401111282556522, -0.264529615570469 },
      picked(mosaic.randn { 700, dtype = "f64", generator = g }, 1, 16, 257, 700))
    assert.same({ 0.30951507343815232, 0.93711292672647972, 0.79806088060113856, 0.18241095115333306 },
      picked(mosaic.rand { 7, 100, dtype = "f64", generator = g }, 1, 16, 257, 700))
    assert.same({ 51872886, 228697706, 680914331, 10002485 },
      picked(mosaic.randint(-10, 10 ^ 9, { 700 }, { generator = g }), 1, 16, 257, 700))
    assert.same({ 0.15071280975858803, 0.77805684301255829, 0.95336432648867875, 0.36452895954805353 },
      picked(mosaic.rand { 20, dtype = "f64", generator = g,
        global = { shape = { 2 ^ 34 }, offset = { 2 ^ 32 - 1 } } }, 1, 2, 3, 20))
  end)

  it("have the moments of their distributions", function()
    local g = mosaic.generator(3)
    local n = 200000
    local normal = mosaic.randn { n, dtype = "f64", generator = g }
    close(normal:mean():item(), 0, 4 / math.sqrt(n))
    close(normal:var():item(), 1, 4 * math.sqrt(2 / n))
    close(normal:pow(3):mean():item(), 0, 4 * math.sqrt(15 / n))
    close(normal:pow(4):mean():item(), 3, 4 * math.sqrt(96 / n) / 3)
    local uniform = mosaic.rand { n, generator = g }
    close(uniform:mean():item(), 0.5, 4 / math.sqrt(12 * n))
    close(uniform:var():item(), 1 / 12, 1e-3)
    assert.is_true(uniform:min():item() >= 0 and uniform:max():item() < 1)
    local neighbours = uniform:slice(1, 1, n - 1) * uniform:slice(1, 2, n)
    close(neighbours:mean():item(), 0.25, 4 / math.sqrt(20 * n))
  end)

  it("are the same again for the same seed, others for the next call or seed", function()
    local first = mosaic.rand({ 5, generator = mosaic.generator(7) }):flat()
    local g = mosaic.generator(7)
    assert.same(first, mosaic.rand({ 5, generator = g }):flat())
    assert.are_not.same(first, mosaic.rand({ 5, generator = g }):flat())
    assert.are_not.same(first, mosaic.rand({ 5, generator = mosaic.generator(8) }):flat())
    assert.equal(2, g:position())
    assert.same(first, mosaic.rand({ 5, generator = g:seek(0) }):flat())
    mosaic.manual_seed(7)
    assert.same(first, mosaic.rand({ 5 }):flat())
  end)

  it("in f32 are those of f64, rounded", function()
    local function draw(dtype)
      return mosaic.randn { 1000, dtype = dtype, generator = mosaic.generator(1) }
    end
    assert.same(draw("f64"):to("f32"):flat(), draw("f32"):flat())
    assert.same(draw("f64"):to("f32"):to("bf16"):flat(), draw("bf16"):flat())
  end)

  it("never reach the upper end, not even rounded to bf16", function()
    local x = mosaic.rand { 20000, dtype = "bf16", generator = mosaic.generator(2) }
    assert.is_true(x:max():item() < 1)
    local y = mosaic.empty { 20000, dtype = "f16" }
    y:uniform_(-3, -2, { generator = mosaic.generator(2) })
    assert.is_true(y:max():item() < -2 and y:min():item() >= -3)
  end)

  it("of a block are those that the whole tensor has there", function()
    local g = mosaic.generator(5)
    for _, name in ipairs { "rand", "randn" } do
      local whole = mosaic[name] { 9, 8, generator = g:seek(4) }
      local rows = mosaic[name] { 4, 8, generator = g:seek(4),
        global = { shape = { 9, 8 }, offset = { 6, 1 } } }
      assert.same(whole:slice(1, 6, 9):tolist(), rows:tolist())
      local striped = mosaic[name] { 3, 2, generator = g:seek(4),
        global = { shape = { 9, 8 }, offset = { 2, 3 }, step = { 3, 5 } } }
      assert.same(whole:slice(1, 2, 9, 3):slice(2, 3, 8, 5):tolist(), striped:tolist())
    end
    local whole = mosaic.randint(1, 100, { 10, generator = g:seek(0) })
    local tail = mosaic.randint(1, 100, { 3, generator = g:seek(0),
      global = { shape = { 10 }, offset = { 8 } } })
    assert.same(whole:slice(1, 8, 10):flat(), tail:flat())
  end)

  it("do not depend on the number of threads or the strides", function()
    local C = require "mosaic.ffi"
    local before = C.mosaic_threads()
    C.mosaic_set_threads(1)
    local one = mosaic.randn { 30000, generator = mosaic.generator(1) }
    C.mosaic_set_threads(3)
    local three = mosaic.randn { 30000, generator = mosaic.generator(1) }
    C.mosaic_set_threads(before)
    assert.is_true(one:eq(three):all():item() == 1)
    local strided = mosaic.zeros({ 100, 300 }):t()
    strided:normal_(0, 1, { generator = mosaic.generator(1) })
    assert.is_true(strided:reshape(-1):eq(one):all():item() == 1)
  end)

  it("are refused where their numbers go past what can be counted", function()
    fails("random: axis 1: 2049 indices from 1, 9007199254740992 apart, are not in the whole tensor's",
      function() mosaic.rand { 2049, global = { shape = { 2 ^ 53 }, step = { 2 ^ 53 } } } end)
    fails("random: the whole tensor has too many elements: axis 1 has 9007199254740992", function()
      mosaic.rand { 1, 1, global = { shape = { 2 ^ 53, 2 ^ 53 }, offset = { 2 ^ 53, 2 ^ 53 } } }
    end)
  end)

  it("randint refuses what its dtype does not hold", function()
    fails("random: u8 [3] cannot hold 0..256", function() mosaic.randint(0, 256, { 3, dtype = "u8" }) end)
    fails("random: u8 [3] cannot hold -1..5", function() mosaic.randint(-1, 5, { 3, dtype = "u8" }) end)
    fails("random: i32 [1] cannot hold 0..2147483648",
      function() mosaic.randint(0, 2 ^ 31, { 1, dtype = "i32" }) end)
    assert.same({ 255 }, mosaic.randint(255, 255, { 1, dtype = "u8" }):flat())
    assert.same({ -2 ^ 31 }, mosaic.randint(-2 ^ 31, -2 ^ 31, { 1, dtype = "i32" }):flat())
  end)

  it("randint covers both ends evenly", function()
    local die = mosaic.randint(1, 6, { 60000, generator = mosaic.generator(1) })
    assert.equal("i64", die.dtype)
    for face = 1, 6 do close(die:eq(face):sum():item() / 10000, 1, 0.04) end
    assert.same({ 5, 5 }, mosaic.randint(5, 5, { 2 }):flat())
    assert.same({ -2 ^ 53 }, mosaic.randint(-2 ^ 53, -2 ^ 53, { 1 }):flat())
  end)

  it("randperm has every number once, in an order that the seed decides", function()
    local p = mosaic.randperm(1000, { generator = mosaic.generator(1) })
    local seen, fixed = {}, 0
    for i, v in ipairs(p:flat()) do
      seen[v] = true
      if v == i then fixed = fixed + 1 end
    end
    for i = 1, 1000 do assert.is_true(seen[i]) end
    assert.is_true(fixed < 10)
    assert.same(p:flat(), mosaic.randperm(1000, { generator = mosaic.generator(1) }):flat())
    assert.same({}, mosaic.randperm(0):flat())
    local counts = { 0, 0, 0, 0, 0, 0 }
    local g = mosaic.generator(4)
    for _ = 1, 6000 do
      local o = mosaic.randperm(3, { generator = g }):flat()
      local rank = (o[1] - 1) * 2 + (o[2] > o[3] and 2 or 1)
      counts[rank] = counts[rank] + 1
    end
    for _, count in ipairs(counts) do close(count / 1000, 1, 0.15) end
  end)

  it("refuse impossible requests with the values", function()
    fails("random: no numbers in [1, 0)", function() mosaic.zeros({ 2 }):uniform_(1, 0) end)
    fails("random: i64 [2] cannot hold fractions; use a float dtype",
      function() mosaic.rand { 2, dtype = "i64" } end)
    fails("random: no whole numbers 3..1", function() mosaic.randint(3, 1, { 2 }) end)
    fails("randint: high must be an integer, got a table", function() mosaic.randint(3, { 2 }) end)
    fails("random: axis 1: 4 indices from 6, 1 apart, are not in the whole tensor's 8",
      function() mosaic.rand { 4, 2, global = { shape = { 8, 2 }, offset = { 6, 1 } } } end)
    fails("rand: global.offset must be a list of 2 integers",
      function() mosaic.rand { 4, 2, global = { shape = { 8, 2 }, offset = { 6 } } } end)
    fails("rand: unknown option 'sead'", function() mosaic.rand { 4, sead = 1 } end)
    fails("rand: option 'generator' must be a mosaic.generator, got 3",
      function() mosaic.rand { 4, generator = 3 } end)
  end)
end)
