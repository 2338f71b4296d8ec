--- Products on the device: as on the CPU, whatever the strides.
local mosaic = require "mosaic"
local close = require "spec.support.close"
local device = require "spec.support.device"
local fill = require "spec.support.fill"
local program = require "spec.support.program"

local BOUND = { f64 = 1e-14, f32 = 5e-7, bf16 = 2 ^ -8, f16 = 2 ^ -11, i32 = 0, i64 = 0, u8 = 0 }

local function values(shape, dtype, seed)
  local t = fill(shape, { seed = seed })
  if dtype:find "^[iu]" then t = (t * 9):abs() end
  return t:to { dtype = dtype, device = "cpu" }
end

local function there(t) return t and t:to { device = device.name } end

--- f(inputs) on the device and on the CPU; half types are compared with what f32 gives for them.
local function agrees(f, inputs, bound)
  local remote, wide = {}, {}
  for i, t in ipairs(inputs) do
    remote[i], wide[i] = there(t), t.dtype:find "16" and t:to "f32" or t
  end
  close(f(remote), f(wide), bound or BOUND[inputs[1].dtype])
end

describe("matmul on a device", function()
  for _, dtype in ipairs { "f64", "f32", "bf16", "f16", "i32", "i64", "u8" } do
    it("multiplies matrices, plain and transposed, with any steps: " .. dtype, function()
      for _, size in ipairs { { 1, 1, 1 }, { 3, 4, 5 }, { 1, 70, 9 }, { 33, 17, 1 }, { 65, 31, 66 },
        { 4, 1, 3 } } do
        local m, k, n = unpack(size)
        local a, b = values({ m, k }, dtype), values({ k, n }, dtype, 1)
        local a_wide, b_wide = values({ 2 * m, 3 * k }, dtype, 2), values({ 2 * k, 3 * n }, dtype, 3)
        for _, x in ipairs { a, a:t():contiguous():t() } do
          for _, y in ipairs { b, b:t():contiguous():t() } do
            agrees(function(t) return t[1]:matmul(t[2]) end, { x, y })
          end
        end
        agrees(function(t)
          local x, y = t[1]:slice(2, k + 1, 2 * k), t[2]:slice(2, 1, n)
          return x:slice(1, 1, 2 * m, 2):matmul(y:slice(1, k + 1, 2 * k))
        end, { a_wide, b_wide })
        agrees(function(t) -- neither rows nor columns are neighbours
          local x, y = t[1]:slice(2, 1, 3 * k, 3), t[2]:slice(2, 1, 3 * n, 3)
          return x:slice(1, 1, 2 * m, 2):matmul(y:slice(1, 1, 2 * k, 2))
        end, { a_wide, b_wide })
      end
    end)

    it("multiplies vectors and repeated rows: " .. dtype, function()
      local v, w, a = values({ 5 }, dtype), values({ 5 }, dtype, 1), values({ 5, 3 }, dtype, 2)
      agrees(function(t) return t[1]:matmul(t[2]) end, { v, w })
      agrees(function(t) return t[1]:matmul(t[2]) end, { v, a })
      agrees(function(t) return t[1]:t():matmul(t[2]) end, { a, v })
      agrees(function(t) return t[1]:view(1, 5):expand(4, 5):matmul(t[2]) end, { v, a })
      agrees(function(t) return t[2]:view(1, 1):expand(3, 5):matmul(t[1]) end, { a, values({ 1 }, dtype) })
    end)

    it("multiplies stacks: " .. dtype, function()
      local function product(t) return t[1]:matmul(t[2]) end
      agrees(product, { values({ 2, 3, 4, 5 }, dtype), values({ 2, 3, 5, 6 }, dtype, 1) })
      agrees(product, { values({ 2, 1, 3, 4 }, dtype), values({ 5, 4, 6 }, dtype, 1) })
      agrees(product, { values({ 3, 4 }, dtype), values({ 2, 4, 5 }, dtype, 1) })
      agrees(product, { values({ 4, 2, 3, 5 }, dtype), values({ 5, 6 }, dtype, 1) })
      agrees(product, { values({ 20, 1, 3, 4 }, dtype), values({ 1, 18, 4, 2 }, dtype, 1) })
    end)
  end

  local ORDERS = { { 1, 2, 3, 4 }, { 1, 3, 2, 4 }, { 3, 2, 1, 4 }, { 2, 1, 3, 4 }, { 2, 3, 1, 4 } }

  it("takes the axes of a stack in any order", function()
    local x, w = values({ 3, 70, 2, 8 }, "f32"), values({ 8, 5 }, "f32", 1)
    local y = values({ 3, 70, 2, 8 }, "f32", 2)
    for _, order in ipairs(ORDERS) do
      agrees(function(t) return t[1]:permute(order):matmul(t[2]) end, { x, w })
      agrees(function(t) return t[1]:permute(order):matmul(t[2]:permute(order):t()) end, { x, y })
    end
  end)

  it("copies nothing that cuBLAS can read where it lies", function()
    device.emulated_only "it counts allocations on a device"
    local x, w = there(values({ 3, 70, 2, 8 }, "f32")), there(values({ 8, 5 }, "f32", 1))
    local function allocates(count, f)
      local before = mosaic.memory(device.name).allocations
      f()
      assert.equal(count, mosaic.memory(device.name).allocations - before)
    end
    for _, order in ipairs(ORDERS) do
      allocates(1, function() return x:permute(order):matmul(w) end)
      allocates(1, function() return x:permute(order):linear(w:t()) end)
    end
    allocates(1, function() return x:matmul(x:t()) end)
    allocates(1, function() return x:permute(1, 3, 2, 4):matmul(x:permute(1, 3, 4, 2)) end)
    allocates(2, function() return x:slice(4, 1, 8, 2):matmul(w:slice(1, 1, 4)) end)
  end)

  it("multiplies more matrices than fit into one call", function()
    local a, b = values({ 40000, 2, 2 }, "f32"), values({ 40000, 2, 2 }, "f32", 1)
    agrees(function(t) return t[1]:matmul(t[2]) end, { a, b })
  end)

  it("gives zeros, or the bias, for an empty sum", function()
    local a, b = mosaic.zeros { 2, 0, device = device.name }, mosaic.zeros { 0, 3, device = device.name }
    close(a:matmul(b), { { 0, 0, 0 }, { 0, 0, 0 } })
    local bias = mosaic.tensor({ 1, 2, 3 }, { dtype = "f32", device = device.name })
    close(a:linear(b:t(), bias), { { 1, 2, 3 }, { 1, 2, 3 } })
    assert.same({ 0, 3 }, mosaic.zeros { 0, 2, device = device.name }:matmul(
      mosaic.zeros { 2, 3, device = device.name }).shape)
  end)

  it("rounds operands to TF32 when asked, and only then", function()
    device.emulated_only "which products use TF32 is the library's choice"
    local a = mosaic.tensor({ { 1 + 2 ^ -12 } }, { dtype = "f32", device = device.name })
    assert.equal(1 + 2 ^ -12, a:matmul(mosaic.ones { 1, 1, device = device.name }):item())
    mosaic.set_matmul_precision "tf32"
    assert.equal("tf32", mosaic.matmul_precision())
    assert.equal(1, a:matmul(mosaic.ones { 1, 1, device = device.name }):item())
    local wide = a:to "f64"
    assert.equal(1 + 2 ^ -12, wide:matmul(mosaic.ones { 1, 1, dtype = "f64", device = device.name }):item())
    mosaic.set_matmul_precision "f32"
    assert.equal(1 + 2 ^ -12, a:matmul(mosaic.ones { 1, 1, device = device.name }):item())
  end)
end)

describe("the precision of products", function()
  it("is f32, or what MOSAIC_TF32 says", function()
    local path = program.script [[print(require "mosaic".matmul_precision())]]
    for value, want in pairs { ["0"] = "f32", ["1"] = "tf32", [""] = "f32" } do
      assert.equal(want .. "\n", program(path, { env = "MOSAIC_TF32=" .. value }).out)
    end
    os.remove(path)
  end)
end)

describe("linear on a device", function()
  for _, dtype in ipairs { "f64", "f32", "bf16", "f16", "i64" } do
    it("applies a GELU, which the library may do itself", function()
    local x = values({ 3, 5, 6 }, "f32")
    for _, n in ipairs { 8, 7 } do
      local w, b = values({ n, 6 }, "f32", 1), values({ n + 1 }, "f32", 2)
      for _, kind in ipairs { "none", "tanh" } do
        local function both(t, bias)
          local out, product = t[1]:linear_gelu_forward(t[2], bias, kind)
          return mosaic.cat({ out, product }, 1)
        end
        agrees(function(t) return both(t) end, { x, w })
        agrees(function(t) return both(t, t[3]:slice(1, 1, n)) end, { x, w, b })
        agrees(function(t) return both(t, t[3]:slice(1, 2, n + 1)) end, { x, w, b }) -- not aligned
        agrees(function(t) return both({ t[1]:permute(2, 1, 3), t[2] }, nil) end, { x, w })
        agrees(function(t) return both({ t[1][1][1], t[2] }, t[3]:slice(1, 1, n)) end, { x, w, b })
        agrees(function(t) return both(t) end, { x:to "f64", w:to "f64" })
      end
    end
  end)

  it("adds the bias, wherever it lies: " .. dtype, function()
      local x, w = values({ 2, 37, 3, 20 }, dtype), values({ 49, 20 }, dtype, 1)
      local b = values({ 100 }, dtype, 2)
      for _, from in ipairs { 1, 2, 9 } do
        local to = from + 48
        agrees(function(t) return mosaic.linear(t[1], t[2], t[3]:slice(1, from, to)) end, { x, w, b })
      end
      agrees(function(t) return mosaic.linear(t[1], t[2], t[3]:slice(1, 2, 98, 2)) end, { x, w, b })
      agrees(function(t)
        return mosaic.linear(t[1]:permute(3, 1, 2, 4), t[2], t[3]:slice(1, 1, 49))
      end, { x, w, b })
      agrees(function(t) return mosaic.linear(t[1][1][1][1], t[2]) end, { x, w })
    end)
  end

  it("has the CPU's gradients", function()
    local function gradients(place)
      local leaves = {}
      for i, t in ipairs { values({ 6, 5, 20 }, "f32"), values({ 9, 20 }, "f32", 1) } do
        leaves[i] = (place and place(t) or t):detach():requires_grad_()
      end
      local out = mosaic.linear(leaves[1], leaves[2])
      local seed = values(out.shape, "f32", 3)
      out:backward(place and place(seed) or seed)
      return leaves
    end
    local want, got = gradients(), gradients(there)
    for i = 1, 2 do close(got[i].grad, want[i].grad, 1e-6) end
  end)
end)
