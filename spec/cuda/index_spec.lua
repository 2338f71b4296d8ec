local mosaic = require "mosaic"
local device = require "spec.support.device"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"

local DTYPES = { "f32", "f64", "bf16", "f16", "i32", "i64", "u8" }

local function there(x) return x:to { device = device.name } end

local function numbers(shape, dtype, seed)
  local x = fill(shape, { seed = seed }):to { device = "cpu" }
  if not dtype:find "f" then x = ((x + 1) * 50):floor() end
  return x:to(dtype)
end

--- Irregular places among `limit`, i64.
local function places(shape, limit, seed)
  return (numbers(shape, "f64", seed):abs() * limit):floor():clamp(0, limit - 1):to "i64" + 1
end

--- f(x, index, source) gives the same bits on the CPU and on the device.
local function agree(f, ...)
  local here, over_there = { ... }, {}
  for i, t in ipairs(here) do over_there[i] = there(t) end
  assert.same(f(unpack(here)):flat(), f(unpack(over_there)):flat())
end

describe("reading by an index on a device", function()
  for _, dtype in ipairs(DTYPES) do
    it("gives what the CPU gives: " .. dtype, function()
      local x = numbers({ 7, 5, 16 }, dtype)
      for axis = 1, 3 do
        agree(function(a, i) return a:index_select(axis, i) end, x, places({ 9 }, x.shape[axis]))
        agree(function(a, i) return a:permute(2, 3, 1):index_select(axis, i) end, x, places({ 4 }, 5))
        agree(function(a, i) return a:gather(axis, i) end, x, places({ 5, 4, 5 }, 5, axis))
        agree(function(a, i) return a:t():gather(2, i:t()) end, x:select(2, 3), places({ 5, 7 }, 7))
      end
      local table = numbers({ 11, 24 }, dtype)
      agree(function(a, i) return a:embedding(i) end, table, places({ 3, 4 }, 11))
      agree(function(a, i) return a:slice(2, 2, 23):embedding(i:t()) end, table, places({ 3, 4 }, 11))
      agree(function(a, i) return a:slice(2, 1, 24, 2):embedding(i) end, table, places({ 70 }, 11))
    end)
  end

  it("refuses the first index that is out of range", function()
    local x = mosaic.zeros { 4, 5, device = device.name }
    local index = mosaic.ones { 3, 4, dtype = "i64", device = device.name }
    index:set(2, 3, 6)
    index:set(3, 1, 0)
    fails("gather: index 6 at position [2,3] is outside 1..5", function() x:gather(2, index) end)
    fails("gather: index 0 at position [1,3] is outside 1..5", function() x:t():gather(1, index:t()) end)
    local long = mosaic.ones { 70000, dtype = "i64", device = device.name }
    long:set(69000, -3)
    long:set(69001, 9)
    fails("index_select: index -3 at position 69000 is outside 1..4", function() x:index_select(1, long) end)
    fails("embedding: index -3 at position 2 is outside 1..4",
      function() x:embedding(long:slice(1, 68000, 69000, 1000)) end)
  end)
end)

describe("writing by an index on a device", function()
  local function scatter(axis) return function(x, i, s) return x:scatter(axis, i, s) end end
  local function scatter_add(axis) return function(x, i, s) return x:scatter_add(axis, i, s) end end
  local function index_add(axis) return function(x, i, s) return x:index_add(axis, i, s) end end

  for _, dtype in ipairs(DTYPES) do
    it("keeps the last of several, and adds in order: " .. dtype, function()
      for _, n in ipairs { 5, 60 } do -- few and many in a line
        local x = numbers({ n, 6, n }, dtype, 1)
        for axis = 1, 3 do
          local shape = { 5, 6, 5 }
          shape[axis] = axis == 2 and n or n + 3
          local index, source = places(shape, x.shape[axis], axis), numbers(shape, dtype, 2)
          agree(scatter(axis), x, index, source)
          agree(scatter_add(axis), x, index, source)
          local slices = { n, 6, n }
          slices[axis] = n + 9
          agree(index_add(axis), x, places({ n + 9 }, x.shape[axis]), numbers(slices, dtype, 3))
        end
      end
    end)
  end

  it("works on views", function()
    local function into_view(x, i, s)
      local copy = x:clone()
      copy:t():slice(1, 2, 30, 2):scatter_add_(2, i:t(), s:t())
      copy:slice(1, 3, 35, 4):index_add_(2, i:select(2, 1), s:t():slice(1, 1, 9))
      return copy
    end
    local source = numbers({ 15, 25 }, "f32", 4):t()
    agree(into_view, numbers({ 40, 30 }, "f32"), places({ 25, 15 }, 30), source)
  end)

  it("adds up long runs of one index", function()
    local index = places({ 3000 }, 3)
    agree(index_add(1), numbers({ 3, 8 }, "f32"), index, numbers({ 3000, 8 }, "f32"))
    agree(scatter_add(1), numbers({ 3 }, "f64"), index, numbers({ 3000 }, "f64"))
    agree(scatter(1), numbers({ 3 }, "i32"), index, numbers({ 3000 }, "i32"))
  end)

  it("writes a number everywhere", function()
    agree(function(x, i) return x:scatter(1, i, 7) end, numbers({ 9, 4 }, "f32"), places({ 30, 4 }, 9))
    agree(function(x, i) return x:scatter_add(2, i, 1) end, numbers({ 4, 9 }, "i64"), places({ 4, 30 }, 9))
  end)

  it("gives gathers their gradients", function()
    local x, index = numbers({ 20, 6 }, "f32"), places({ 5, 40 }, 20)
    local function slope(a, i)
      local leaf = a:clone():requires_grad_()
      local out = leaf:embedding(i);
      (out * out):sum():backward()
      return leaf.grad
    end
    agree(slope, x, index)
  end)
end)
