local mosaic = require "mosaic"
local close = require "spec.support.close"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"

--- All index tuples of a shape, in row-major order.
local function indices(shape)
  local list = { {} }
  for _, size in ipairs(shape) do
    local longer = {}
    for _, index in ipairs(list) do
      for i = 1, size do
        local next_index = { unpack(index) }
        next_index[#next_index + 1] = i
        longer[#longer + 1] = next_index
      end
    end
    list = longer
  end
  return list
end

--- The values that meet in each result when `axes` (a set) are reduced, results in row-major order.
local function groups(t, axes)
  local order, lists, values = {}, {}, t:flat()
  for n, index in ipairs(indices(t.shape)) do
    local kept = {}
    for axis, i in ipairs(index) do if not axes[axis] then kept[#kept + 1] = i end end
    local key = table.concat(kept, ",")
    if not lists[key] then
      lists[key] = {}
      order[#order + 1] = lists[key]
    end
    table.insert(lists[key], values[n])
  end
  return order
end

local function fold(start, f)
  return function(values)
    local result = start
    for _, x in ipairs(values) do result = f(result, x) end
    return result
  end
end
local sum = fold(0, function(a, b) return a + b end)
local function mean(values) return sum(values) / #values end
local function squares(values, shift)
  return fold(0, function(a, b) return a + (b - shift) ^ 2 end)(values)
end
local PLAIN = {
  sum = sum, mean = mean, prod = fold(1, function(a, b) return a * b end),
  amax = function(v) return math.max(unpack(v)) end, amin = function(v) return math.min(unpack(v)) end,
  any = function(v) return squares(v, 0) > 0 and 1 or 0 end,
  all = fold(1, function(a, b) return (a ~= 0 and b ~= 0) and 1 or 0 end),
  norm = function(v) return math.sqrt(squares(v, 0)) end,
  logsumexp = function(v)
    return math.log(fold(0, function(a, b) return a + math.exp(b) end)(v))
  end,
  var = function(v) return squares(v, mean(v)) / (#v - 1) end,
  std = function(v) return math.sqrt(squares(v, mean(v)) / (#v - 1)) end,
}

local function expected(t, axes, f)
  local set, results = {}, {}
  for _, axis in ipairs(axes) do set[axis] = true end
  for i, values in ipairs(groups(t, set)) do results[i] = f(values) end
  return results
end

local AXES = { { 1 }, { 2 }, { 4 }, { 1, 2 }, { 2, 4 }, { 1, 3 }, { 3, 4 }, { 1, 2, 3, 4 } }

describe("reductions", function()
  local x = fill { 4, 3, 5, 2 }
  local views = {
    contiguous = x, permuted = x:permute(3, 1, 4, 2), sliced = x:slice(3, 1, 5, 2),
    expanded = x:slice(2, 1, 1):expand(4, 3, 5, 2),
  }
  for name, f in pairs(PLAIN) do
    it(name .. " over any axes of any strides agrees with plain Lua", function()
      for _, view in pairs(views) do
        for _, axes in ipairs(AXES) do
          local out = view[name](view, axes)
          assert.equal(4 - #axes, out.ndim)
          close(out:reshape(-1), expected(view, axes, f), 1e-12)
        end
      end
      close(x[name](x:to "f32"):item(), expected(x, { 1, 2, 3, 4 }, f)[1], 1e-6)
    end)
  end

  it("keep the reduced axes as size 1 when asked", function()
    assert.same({ 4, 1, 5, 1 }, x:sum({ 2, -1 }, true).shape)
    assert.same({ 1, 1, 1, 1 }, x:mean(nil, true).shape)
    assert.same({ 3, 5 }, x:amax({ 1, 4 }).shape)
    assert.same({ 4, 3, 1, 2 }, x:std(3, { keepdim = true }).shape)
    close(x:var(3, { unbiased = false }):reshape(-1),
      expected(x, { 3 }, function(v) return squares(v, mean(v)) / #v end))
  end)

  it("stay exact over many elements: f32 sums collect in f64", function()
    local n = 1000003
    local ones = mosaic.full({ n }, 0.1)
    close(ones:sum():item(), n * ones:get(1), 1e-6)
    local tall = mosaic.full({ 100003, 3 }, 0.1)
    close(tall:sum(1), { 100003 * tall:get(1, 1), 100003 * tall:get(1, 1), 100003 * tall:get(1, 1) }, 1e-6)
    close(mosaic.full({ 3, 70001 }, 0.1):to("bf16"):mean(2), { 0.10009765625, 0.10009765625, 0.10009765625 })
    local shifted = mosaic.arange(1, 70000):to("f32") + 2 ^ 23
    close(shifted:var():item() / ((70000 ^ 2 - 1) / 12 * 70000 / 69999), 1, 1e-5)
  end)

  it("do not depend on the number of threads", function()
    local C = require "mosaic.ffi"
    local before = C.mosaic_threads()
    local big = fill({ 700, 301 }, { dtype = "f32" })
    local seen = {}
    for _, threads in ipairs { 1, 2, 5 } do
      C.mosaic_set_threads(threads)
      seen[#seen + 1] = { big:sum():item(), big:sum(1):get(7), big:sum(2):get(9), big:norm():item() }
    end
    C.mosaic_set_threads(before)
    assert.same(seen[1], seen[2])
    assert.same(seen[1], seen[3])
  end)

  it("sum integers to i64, exactly", function()
    local big = mosaic.tensor({ 2 ^ 31 - 1, 2 ^ 31 - 1, 5 }, { dtype = "i32" })
    assert.equal("i64", big:sum().dtype)
    assert.equal(2 ^ 32 + 3, big:sum():item())
    assert.equal("i32", big:amax().dtype)
    assert.equal("f32", big:mean().dtype)
    assert.equal(3, mosaic.tensor({ 1, 1, 0, 1 }, { dtype = "u8" }):sum():item())
    assert.equal("u8", mosaic.zeros({ 2 }):any().dtype)
  end)

  it("over nothing give the neutral element, or an error", function()
    local none = mosaic.zeros { 0, 2, dtype = "f64" }
    close(none:sum(1), { 0, 0 })
    close(none:prod(1), { 1, 1 })
    close(none:mean(1), { 0 / 0, 0 / 0 })
    close(none:logsumexp(1), { -math.huge, -math.huge })
    close(none:all(1), { 1, 1 })
    assert.same({ 0 }, none:sum(2).shape)
    fails("max: axis 1 of f64 [0,2] has no elements", function() none:amax(1) end)
    fails("argmax: axis 1 of f64 [0,2] has no elements", function() none:argmax(1) end)
    close(mosaic.tensor(7):sum():item(), 7)
    close(mosaic.ones({ 3 }):var(nil, { unbiased = false }):item(), 0)
    close(mosaic.ones({ 1 }):var():item(), 0 / 0)
  end)

  it("carry NaN, and infinities where they belong", function()
    local y = mosaic.tensor { { 1, 0 / 0, 3 }, { math.huge, 2, 1 }, { -math.huge, -math.huge, -math.huge } }
    close(y:sum(2), { 0 / 0, math.huge, -math.huge })
    close(y:amax(2), { 0 / 0, math.huge, -math.huge })
    close(y:amin(1), { -math.huge, 0 / 0, -math.huge })
    close(y:logsumexp(2), { 0 / 0, math.huge, -math.huge })
    close(mosaic.tensor({ 1000, 1000 }):logsumexp():item(), 1000 + math.log(2), 1e-7)
  end)

  it("point at wrong axes", function()
    fails("sum: axis 0 does not exist", function() x:sum(0) end)
    fails("mean: axis 5 is out of range for 4 dims", function() x:mean { 1, 5 } end)
    fails("sum: axis -4 is given twice", function() x:sum { 1, -4 } end)
    fails("sum: expected an axis or a list of axes, got \"rows\"", function() x:sum "rows" end)
    fails("var: unknown option 'unbaised', did you mean 'unbiased'?",
      function() x:var(1, { unbaised = true }) end)
  end)
end)

describe("argmax, argmin, max and min", function()
  local x = mosaic.tensor { { 3, 9, 9 }, { 7, -1, 2 } }

  it("give 1-based indices of the first of equals", function()
    local values, places = x:max(2)
    assert.same({ 9, 7 }, values:flat())
    assert.same({ 2, 1 }, places:flat())
    assert.equal("i64", places.dtype)
    assert.same({ 1, 2, 2 }, x:argmin(1):flat())
    assert.same({ { 2 }, { 1 } }, x:argmax(-1, true):tolist())
    assert.same({ 2, 1, 1 }, x:t():argmax(2):flat())
  end)

  it("without an axis look at all elements", function()
    assert.equal(9, x:max():item())
    assert.equal(-1, x:min():item())
    assert.equal(2, x:argmax():item())
    assert.equal(4, x:t():argmin():item())
  end)

  it("take every dtype, long axes, and the first NaN", function()
    local long = mosaic.arange(1, 3000)
    for _, dtype in ipairs { "i64", "i32", "f64", "f32" } do
      assert.equal(3000, long:to(dtype):argmax(1):item())
      assert.equal(1, long:to(dtype):neg():argmax(1):item())
    end
    assert.equal(2, mosaic.tensor({ 1, 0 / 0, 5, 0 / 0 }):argmax():item())
    assert.equal(2, mosaic.tensor({ 1, 0 / 0, 5 }):argmin():item())
    local values = mosaic.tensor({ 2 ^ 53 - 1, 2 ^ 53 }, { dtype = "i64" }):max(1)
    assert.equal(2 ^ 53, values:item())
  end)
end)
