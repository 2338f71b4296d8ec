--- The step of ScheduleFreeAdamW that is one operation, against plain numbers.
local mosaic = require "mosaic"
local close = require "spec.support.close"
local fails = require "spec.support.fails"

local OPTIONS = { lr = 0.05, betas = { 0.9, 0.99 }, weight_decay = 0.1 }
local STEPS = 3

--- The gradient of element i in step k (from 0), exact in bf16.
local function slope(i, k) return ((7 * i + 5 * k) % 16 - 6) / 8 end

local function start(i) return (i % 13 - 6) / 4 end

--- Where the y of `count` elements are after the steps.
local function expected(count)
  local list = {}
  for i = 1, count do
    local y, z, v = start(i), start(i), 0
    for k = 0, STEPS - 1 do
      local g, c = slope(i, k), 1 / (k + 1)
      v = 0.99 * v + 0.01 * g * g
      local h = g / (math.sqrt(v / (1 - 0.99 ^ (k + 1))) + 1e-8) + 0.1 * y
      y = y + c * (z - y) + 0.05 * (0.9 * (1 - c) - 1) * h
      z = z - 0.05 * h
    end
    list[i] = y
  end
  return list
end

local function list_of(count, f, k)
  local list = {}
  for i = 1, count do list[i] = f(i, k) end
  return list
end

--- The same by the optimizer; lie(t): the parameter, or a gradient, of these numbers.
local function trained(count, dtype, lie)
  local p = lie(mosaic.tensor(list_of(count, start), { dtype = dtype })):requires_grad_()
  local optimizer = mosaic.optim.ScheduleFreeAdamW {
    params = { p }, lr = OPTIONS.lr, betas = OPTIONS.betas, weight_decay = OPTIONS.weight_decay,
  }
  for k = 0, STEPS - 1 do
    p.grad = lie(mosaic.tensor(list_of(count, slope, k), { dtype = dtype }))
    optimizer:step()
  end
  return p:detach()
end

local function as_it_is(t) return t end

--- Every other column of a matrix: (n / 2, 2, 2) -> (n / 2, 2)
local function spread(t)
  local wide = mosaic.zeros { t:numel() / 2, 2, 2, dtype = t.dtype }
  local view = wide:select(3, 2)
  view:copy_(t:view(-1, 2))
  return view
end

describe("a step of ScheduleFreeAdamW", function()
  it("moves all of 20,011 numbers, by the same bits on any number of threads", function()
    local threads, count = mosaic.threads(), 20011
    local first
    for n = 1, 3 do
      mosaic.set_threads(n)
      local t = trained(count, "f32", as_it_is):flat()
      first = first or t
      assert.same(first, t)
    end
    mosaic.set_threads(threads)
    close(first, expected(count), 1e-6)
    close(trained(77, "f64", as_it_is), expected(77), 1e-14)
  end)

  it("moves numbers that lie apart, and halves", function()
    close(trained(78, "f32", spread):reshape(-1), expected(78), 1e-6)
    close(trained(78, "f64", spread):reshape(-1), expected(78), 1e-14)
    close(trained(77, "bf16", as_it_is):to "f32", expected(77), 0.01)
  end)

  it("refuses a gradient of other sizes", function()
    local p = mosaic.zeros { 2, 3, requires_grad = true }
    local optimizer = mosaic.optim.ScheduleFreeAdamW { params = { p } }
    p.grad = mosaic.zeros { 3 }
    fails("schedule_free: expected floats of the same sizes, got f32 [2,3] and f32 [3]",
      function() optimizer:step() end)
  end)
end)
