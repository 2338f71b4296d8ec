--- The arguments of constructors: sizes, then options; what is surplus is refused.
local mosaic = require "mosaic"

describe("constructors", function()
  it("take options among the sizes, or after them", function()
    for _, x in ipairs {
      mosaic.full({ 2, 3, dtype = "f64" }, 1), mosaic.full({ 2, 3 }, 1, { dtype = "f64" }),
      mosaic.ones({ 2, 3 }, { dtype = "f64" }), mosaic.ones(2, 3, { dtype = "f64" }),
      mosaic.ones({ 2, 3, dtype = "f64" }, nil),
    } do
      assert.equal("f64", x.dtype)
      assert.same({ { 1, 1, 1 }, { 1, 1, 1 } }, x:tolist())
    end
    assert.equal("u8", mosaic.randint(1, 6, { 4 }, { dtype = "u8" }).dtype)
    local drawn = mosaic.randn({ 2, 3 }, { generator = mosaic.generator(5), requires_grad = true })
    assert.same(mosaic.randn({ 2, 3, generator = mosaic.generator(5) }):tolist(), drawn:tolist())
    assert.is_true(drawn.requires_grad)
  end)

  it("make ranges with all options, of numbers that end", function()
    local x = mosaic.arange(1, 2, 0.5, { dtype = "f64", requires_grad = true })
    assert.same({ true, { 1, 1.5, 2 } }, { x.requires_grad, x:flat() })
    for i, name in ipairs { "first", "last", "step" } do
      local numbers = { 1, 2, 1 }
      for _, wrong in ipairs { math.huge, -math.huge, 0 / 0 } do
        numbers[i] = wrong
        local ok, message = pcall(mosaic.arange, unpack(numbers))
        assert.is_false(ok)
        assert.matches(("arange: %s must be finite, got %%-?%%a+"):format(name), message)
      end
    end
  end)

  local function refuses(text, make, ...)
    local ok, wrong = pcall(make, ...)
    assert.is_false(ok)
    assert.matches(text, wrong)
  end

  it("refuse what they do not know, at the user's line", function()
    refuses("create_spec.*randn: there is no device 'nowhere:9x'", function()
      mosaic.randn({ 2, 2 }, { device = "nowhere:9x" })
    end)
    for name, make in pairs { zeros = mosaic.zeros, empty = mosaic.empty, randn = mosaic.randn } do
      refuses(name .. ": unknown option 'devise', did you mean 'device'?", make, { 2 }, { devise = "cpu" })
      refuses(name .. ": unexpected 3 after the list of sizes; options go as " .. name, make, { 2 }, 3)
      refuses(name .. ": expected sizes, and then options, got a second list", make, { 2 }, { 3 })
      refuses("got a table as argument 2", make, { 2 }, {}, {})
      refuses("option 'dtype' is given twice", make, { 2, dtype = "f32" }, { dtype = "f64" })
      refuses("size 2 must be an integer of at least 0, got nil", make, 2, nil, 3)
      refuses("got f32 %[2%] as argument 1", make, mosaic.zeros { 2 })
    end
  end)
end)
