--- softmax, layer_norm, rms_norm, cross_entropy and merge: on the device as on the CPU.
local mosaic = require "mosaic"
local close = require "spec.support.close"
local device = require "spec.support.device"
local fill = require "spec.support.fill"
local plain = require "spec.support.plain"

local inf, nan = math.huge, 0 / 0
local DTYPES = { "f64", "f32", "bf16", "f16" }
local BOUND = { f64 = 1e-13, f32 = 1e-6, bf16 = 2 ^ -7, f16 = 2 ^ -10 }
--- Rows for a part of a warp, a warp and a block, with and without 16-byte loads.
local LENGTHS = { 1, 2, 7, 16, 33, 96, 200, 1024, 2100, 4112 }

--- fill's numbers between -spread and spread, on the CPU.
local function input(shape, spread, dtype, seed)
  return (fill(shape, { seed = seed }) * spread):to { dtype = dtype, device = "cpu" }
end

local function there(t) return t and t:to { device = device.name } end

--- f of the inputs and the gradients of all of them, given the gradient of f's first result.
local function results(f, inputs, place)
  local leaves = {}
  for i, t in pairs(inputs) do
    leaves[i] = (place and place(t) or t):detach()
    if t.dtype ~= "i64" then leaves[i]:requires_grad_() end
  end
  local out = f(leaves)
  local seed = input(out.shape, 1, out.dtype, 9)
  out:backward(place and place(seed) or seed)
  return out:detach(), leaves
end

--- f(inputs) and its gradients agree on the device and on the CPU.
local function agrees(f, inputs, bound)
  local want, want_leaves = results(f, inputs)
  local got, got_leaves = results(f, inputs, there)
  close(got, want, bound)
  for i, leaf in pairs(want_leaves) do
    if leaf.grad then close(got_leaves[i].grad, leaf.grad, bound * 4) end
  end
end

describe("softmax and log_softmax on a device", function()
  for _, dtype in ipairs(DTYPES) do
    it("match the CPU for rows of any length: " .. dtype, function()
      for _, n in ipairs(LENGTHS) do
        local x = input({ 3, n }, 8, dtype)
        agrees(function(t) return t[1]:softmax() end, { x }, BOUND[dtype])
        agrees(function(t) return t[1]:log_softmax() end, { x }, 8 * BOUND[dtype])
      end
    end)

    it("work along any axis of a view: " .. dtype, function()
      local x = input({ 5, 70, 9 }, 4, dtype)
      for axis = 1, 3 do
        agrees(function(t) return t[1]:softmax(axis) end, { x }, BOUND[dtype])
        agrees(function(t) return t[1]:permute(3, 1, 2):log_softmax(axis) end, { x }, 8 * BOUND[dtype])
        agrees(function(t) return t[1]:slice(2, 2, 70, 3):slice(3, 2, 9):softmax(axis) end, { x },
          BOUND[dtype])
      end
    end)
  end

  it("match doubles, as many rows as there are", function()
    local x = input({ 400, 10 }, 8, "f32")
    close(there(x):softmax(), plain.map_rows(x:tolist(), plain.softmax), BOUND.f32)
    close(there(x):softmax(1):t(), plain.map_rows(x:t():tolist(), plain.softmax), BOUND.f32)
    local long = input({ 2, 5000 }, 300, "f32")
    close(there(long):log_softmax(), plain.map_rows(long:tolist(), plain.log_softmax), BOUND.f32)
  end)

  it("stand far-off values, infinities and NaN", function()
    for _, n in ipairs { 3, 64, 3000 } do
      local x = mosaic.full({ 5, n }, -inf, { dtype = "f32", device = "cpu" })
      x:set(1, n, 3)
      x:set(1, 2, 3)
      x:set(3, 2, nan)
      x:set(4, n, inf)
      for i = 1, n do x:set(5, i, i % 2 == 0 and 1e30 or -1e30) end
      local y = there(x):softmax()
      close(y, x:softmax(), BOUND.f32)
      close(there(x):log_softmax(), x:log_softmax(), BOUND.f32)
      assert.equal(0.5, y:get(1, 2))
      for row = 2, 4 do assert.is_true(y:get(row, 1) ~= y:get(row, 1)) end
    end
  end)
end)

describe("layer_norm and rms_norm on a device", function()
  for _, dtype in ipairs(DTYPES) do
    it("match the CPU for rows of any length: " .. dtype, function()
      for _, n in ipairs(LENGTHS) do
        local x = input({ 2, 3, n }, 3, dtype)
        local w, b = input({ n }, 1, dtype, 1), input({ n }, 1, dtype, 2)
        agrees(function(t) return t[1]:layer_norm(t[2], t[3], 1e-3) end, { x, w, b }, 4 * BOUND[dtype])
        agrees(function(t) return t[1]:layer_norm() end, { x }, 4 * BOUND[dtype])
        agrees(function(t) return t[1]:rms_norm(t[2]) end, { x, w }, 4 * BOUND[dtype])
      end
    end)

    it("take views: " .. dtype, function()
      local x, w = input({ 6, 40, 10 }, 3, dtype), input({ 40 }, 1, dtype, 1)
      agrees(function(t) return t[1]:permute(3, 1, 2):layer_norm(t[2], t[2]) end, { x, w }, 4 * BOUND[dtype])
      agrees(function(t) return t[1]:slice(3, 2, 9):rms_norm() end, { x }, 4 * BOUND[dtype])
    end)
  end

  it("add up the gradients of many rows", function()
    local x, w = input({ 700, 40 }, 3, "f32"), input({ 40 }, 1, "f32", 1)
    agrees(function(t) return t[1]:layer_norm(t[2], t[2]) end, { x, w }, 4 * BOUND.f32)
  end)

  it("keep their digits far from zero", function()
    local x = mosaic.tensor({ 1e6 + 1, 1e6 + 2, 1e6 + 3, 1e6 + 4 }, { dtype = "f32", device = device.name })
    close(x:layer_norm(), plain.layer_norm({ 1, 2, 3, 4 }, nil, nil, 1e-5), 1e-6)
  end)
end)

describe("cross_entropy on a device", function()
  local function targets(shape, classes)
    local t, count = {}, 1
    for _, size in ipairs(shape) do count = count * size end
    for i = 1, count do t[i] = i * 7 % classes + 1 end
    return mosaic.tensor(t, { dtype = "i64", device = "cpu" }):reshape(shape)
  end

  for _, dtype in ipairs(DTYPES) do
    it("matches the CPU with every reduction: " .. dtype, function()
      for _, classes in ipairs { 2, 10, 96, 3001 } do
        local x, t = input({ 7, 3, classes }, 6, dtype), targets({ 7, 3 }, classes)
        for _, reduction in ipairs { "none", "sum", "mean" } do
          for _, ignore in ipairs { false, 1, 2 } do
            local options = { reduction = reduction, ignore_index = ignore or nil }
            agrees(function(a) return mosaic.cross_entropy(a[1], a[2], options) end, { x, t },
              BOUND[dtype] * 4)
          end
        end
      end
    end)
  end

  it("takes views of logits and targets, and many rows", function()
    local x, t = input({ 10, 5000 }, 6, "f32"), targets({ 5000, 2 }, 10)
    agrees(function(a) return mosaic.cross_entropy(a[1]:t(), a[2]:select(2, 2), { ignore_index = 3 }) end,
      { x, t }, 4 * BOUND.f32)
  end)

  it("has a mean of nothing that is NaN, and a gradient of 0", function()
    local x = there(input({ 3, 4 }, 1, "f32")):requires_grad_()
    local t = mosaic.ones { 3, dtype = "i64", device = device.name }
    local loss = mosaic.cross_entropy(x, t, { ignore_index = 1 })
    assert.is_true(loss:item() ~= loss:item())
    loss:backward()
    close(x.grad, mosaic.zeros { 3, 4 })
  end)
end)

describe("merge on a device", function()
  --- Partial results, empty ones (-inf) among them, whose out is never looked at.
  local function parts(d, dtype)
    local out1, out2 = input({ 2, 6, 3, d }, 1, dtype, 1), input({ 2, 6, 3, d }, 1, dtype, 2)
    local lse1, lse2 = input({ 2, 6, 3 }, 5, "f64", 3), input({ 2, 6, 3 }, 5, "f64", 4)
    for i, t in ipairs { lse1, lse2 } do t:set(1, i, 1, -inf) t:set(2, 1, 1, -inf) end
    out1:set(1, 1, 1, 1, nan)
    return out1, lse1, out2, lse2
  end

  for _, dtype in ipairs { "f64", "f32" } do
    for _, d in ipairs { 1, 3, 24, 64, 256 } do
      it(("joins rows of %d, forward and backward: %s"):format(d, dtype), function()
        local inputs = { parts(d, dtype) }
        agrees(function(t) return (mosaic.merge(unpack(t))) end, inputs, BOUND[dtype])
        agrees(function(t) return select(2, mosaic.merge(unpack(t))) end, inputs, BOUND[dtype])
        local views = {}
        for i, t in ipairs(inputs) do views[i] = t:transpose(2, 3) end
        agrees(function(t) return (mosaic.merge(unpack(t))) end, views, BOUND[dtype])
      end)
    end
  end

  it("works in place", function()
    local out1, lse1, out2, lse2 = parts(24, "f32")
    local want, want_lse = mosaic.merge(out1, lse1, out2, lse2)
    local out, lse = there(out1), there(lse1)
    mosaic.attention.merge_(out, lse, there(out2), there(lse2))
    close(out, want, BOUND.f32)
    close(lse, want_lse, BOUND.f64)
  end)

  it("keeps NaN, and what differs by thousands apart", function()
    local out1, lse1, out2, lse2 = parts(8, "f32")
    lse1:set(2, 3, 1, nan)
    lse1:set(2, 3, 2, 5000)
    local want, want_lse = mosaic.merge(out1, lse1, out2, lse2)
    local out, lse = mosaic.merge(there(out1), there(lse1), there(out2), there(lse2))
    close(out, want, BOUND.f32)
    close(lse, want_lse, BOUND.f64)
  end)
end)
