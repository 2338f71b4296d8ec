local mosaic = require "mosaic"
local close = require "spec.support.close"
local device = require "spec.support.device"
local fill = require "spec.support.fill"

local OPS = { "sum", "prod", "amin", "amax", "any", "all", "mean", "var", "norm", "logsumexp" }
--- What rounding the result to its dtype does, and a little more.
local BOUND = { f32 = 4e-7, f64 = 1e-14, bf16 = 2 ^ -8, f16 = 2 ^ -11, i32 = 2e-7, i64 = 2e-7, u8 = 2e-7 }

local function there(x) return x:to { device = device.name } end

--- Irregular numbers on the CPU; whole ones for integers.
local function numbers(shape, dtype)
  local x = fill(shape):to { device = "cpu" }
  if not (dtype:find "f") then x = ((x + 1) * 3):floor() end
  return x:to(dtype)
end

--- The same reduction on the CPU, of the same numbers in double.
local function truth(x, name, axes)
  local wide = x:to "f64"
  return wide[name](wide, axes)
end

local function agree(x, name, axes, bound)
  local on_device = there(x)
  close(on_device[name](on_device, axes):to "f64", truth(x, name, axes), bound or BOUND[x.dtype])
end

describe("reductions on a device", function()
  for dtype in pairs(BOUND) do
    it("agree with doubles, over any axes of any strides: " .. dtype, function()
      local x = numbers({ 4, 3, 5, 2 }, dtype)
      local views = { x, x:permute(3, 1, 4, 2), x:slice(3, 1, 5, 2), x:slice(2, 1, 1):expand(4, 3, 5, 2) }
      for _, name in ipairs(OPS) do
        for _, view in ipairs(views) do
          for _, axes in ipairs { { 1 }, { 4 }, { 2, 4 }, { 1, 3 }, { 1, 2, 3, 4 } } do
            agree(view, name, axes)
            assert.equal(view[name](view, axes).dtype, there(view)[name](there(view), axes).dtype)
          end
        end
      end
    end)
  end

  it("work on views of a device's own memory", function()
    local x = numbers({ 6, 7, 8 }, "f32")
    local g = there(x)
    close(g:permute(3, 1, 2):sum(2), x:permute(3, 1, 2):sum(2), 1e-6)
    close(g:slice(3, 2, 4, 3):norm { 1, 3 }, x:slice(3, 2, 4, 3):norm { 1, 3 }, 1e-6)
    local function repeated(t) return t:slice(1, 2, 2):select(2, 4):expand(5, 3, 8):sum { 1, 2 } end
    close(repeated(g), repeated(x), 1e-6)
    close(g:transpose(1, 3):mean(1, true), x:transpose(1, 3):mean(1, true), 1e-6)
  end)

  -- lengths around the lanes of a block, the elements of a piece, and two launches
  for _, shape in ipairs { { 1 }, { 31 }, { 257 }, { 2049 }, { 8191 }, { 20011 }, { 3, 9011 }, { 9011, 3 },
    { 1000, 40 }, { 2, 3000, 3 }, { 7, 1100 }, { 600, 5 } } do
    it("of many elements: " .. table.concat(shape, "x"), function()
      local x = numbers(shape, "f32")
      for _, name in ipairs { "sum", "var", "amax", "logsumexp" } do
        for axis = 1, #shape do agree(x, name, axis, 2e-6) end
        agree(x, name, nil, 2e-6)
      end
    end)
  end

  it("keep their accuracy over many elements", function()
    local ones = mosaic.full({ 300007, device = device.name }, 0.1)
    close(ones:sum():item(), 300007 * ones:get(1), 1e-6)
    local tall = mosaic.full({ 30011, 3, device = device.name }, 0.1)
    local sum = 30011 * tall:get(1, 1)
    close(tall:sum(1), { sum, sum, sum }, 1e-6)
    local shifted = there(mosaic.arange(1, 70000)):to "f32" + 2 ^ 23
    close(shifted:var():item() / ((70000 ^ 2 - 1) / 12 * 70000 / 69999), 1, 1e-5)
  end)

  it("of integers are exact, and wrap around", function()
    local big = there(mosaic.tensor({ 2 ^ 31 - 1, 2 ^ 31 - 1, 5 }, { dtype = "i32" }))
    assert.equal(2 ^ 32 + 3, big:sum():item())
    assert.equal(5000050000, there(mosaic.arange(1, 100000)):sum():item())
    assert.equal(0, mosaic.full({ 64, dtype = "i64", device = device.name }, 2):prod():item())
  end)

  it("carry NaN, and infinities where they belong", function()
    local inf = math.huge
    local y = there(mosaic.tensor { { 1, 0 / 0, 3 }, { inf, 2, 1 }, { -inf, -inf, -inf } })
    close(y:sum(2), { 0 / 0, inf, -inf })
    close(y:amax(2), { 0 / 0, inf, -inf })
    close(y:amin(1), { -inf, 0 / 0, -inf })
    close(y:logsumexp(2), { 0 / 0, inf, -inf })
    close(y:var(2), { 0 / 0, 0 / 0, 0 / 0 })
    local long = fill({ 20000 }, { dtype = "f32" })
    long:set(17000, 0 / 0)
    for _, name in ipairs { "sum", "amin", "amax", "logsumexp" } do
      close(there(long)[name](there(long)):item(), 0 / 0)
    end
  end)

  it("give the same bits every time", function()
    local x = there(numbers({ 30011, 3 }, "f32"))
    local copy = x:clone()
    for _, axes in ipairs { { 1 }, { 2 }, { 1, 2 } } do
      assert.same(x:sum(axes):flat(), copy:sum(axes):flat())
    end
  end)
end)
