local mosaic = require "mosaic"
local close = require "spec.support.close"
local plain = require "spec.support.plain"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"

local function product(a, b) return plain.matmul(a:tolist(), b:tolist()) end

describe("linear", function()
  it("is x times the transposed weight, plus the bias", function()
    for _, dtype in ipairs { "f64", "f32" } do
      local bound = dtype == "f64" and 1e-13 or 1e-6
      local x = fill({ 2, 37, 3, 20 }, { dtype = dtype })
      local w, b = fill({ 49, 20 }, { dtype = dtype, seed = 1 }), fill({ 49 }, { dtype = dtype, seed = 2 })
      local want = product(x:view(-1, 20), w:t())
      close(mosaic.linear(x, w):view(-1, 49), want, bound)
      for _, row in ipairs(want) do
        for j, value in ipairs(b:tolist()) do row[j] = row[j] + value end
      end
      close(mosaic.linear(x, w, b):view(-1, 49), want, bound)
      close(mosaic.linear(x[1][1][1], w, b), want[1], bound)
    end
  end)

  it("keeps the axis order of a permuted input", function()
    local x, w, b = fill { 4, 5, 6 }, fill({ 7, 6 }, { seed = 1 }), fill({ 7 }, { seed = 2 })
    local straight = mosaic.linear(x, w, b)
    close(mosaic.linear(x:permute(2, 1, 3), w, b), straight:permute(2, 1, 3):tolist())
  end)

  it("says which sizes it expects", function()
    local x = mosaic.zeros { 2, 3 }
    fails("linear: the weight must be [out,3] for the input f32 [2,3], got f32 [3,4]",
      function() mosaic.linear(x, mosaic.zeros { 3, 4 }) end)
    fails("linear: the bias must be [4] for the weight f32 [4,3], got f32 [3]",
      function() mosaic.linear(x, mosaic.zeros { 4, 3 }, mosaic.zeros { 3 }) end)
    fails("linear: the input must be a tensor, got nil", function() mosaic.linear(nil, x) end)
  end)

  it("applies a GELU to what linear gives", function()
    for dtype, bound in pairs { f32 = 1e-6, f64 = 1e-14, bf16 = 2 ^ -7 } do
      local x, w = fill({ 2, 5, 6 }, { dtype = dtype }), fill({ 8, 6 }, { dtype = dtype, seed = 1 })
      local b = fill({ 8 }, { dtype = dtype, seed = 2 })
      local tall = fill({ 2, 300, 6 }, { dtype = dtype, seed = 4 })
      for _, kind in ipairs { "none", "tanh" } do
        close(tall:linear_gelu(w, b, kind), tall:linear(w, b):gelu(kind), bound)
        local out, before = x:linear_gelu_forward(w, b, kind)
        close(before, x:linear(w, b), bound)
        close(out, x:linear(w, b):gelu(kind), bound)
        close(x:linear_gelu(w, nil, kind), x:linear(w):gelu(kind), bound)
      end
    end
    local x, w = fill { 3 }, fill { 2, 3 }
    fails('approximation "sigmoid"', function() x:linear_gelu(w, nil, "sigmoid") end)
    fails("linear_gelu: the bias must be [2]", function() x:linear_gelu(w, fill { 3 }) end)
  end)

  it("gives linear's parameters their gradients", function()
    for dtype, bound in pairs { f64 = 1e-13, f32 = 2e-6, bf16 = 2 ^ -6, f16 = 2 ^ -9 } do
      for _, size in ipairs { { 0, 3, 4 }, { 1, 3, 4 }, { 5, 3, 0 }, { 5, 1, 3 }, { 70, 96, 40 },
        { 333, 40, 100 }, { 131, 100, 100 }, { 4501, 20, 33 }, { 40, 2100, 3 }, { 40, 3, 2100 },
        { 275, 96, 400 }, { 261, 528, 520 } } do
        local rows, n, k = unpack(size)
        local g, x = fill({ rows, n }, { dtype = dtype }), fill({ rows, k }, { dtype = dtype, seed = 1 })
        local dweight, sums = mosaic.zeros({ n, k }):tolist(), {}
        if rows > 0 and k > 0 then dweight = product(g:t(), x) end
        for i = 1, n do sums[i] = plain.sum(rows > 0 and g:t()[i]:tolist() or {}) end
        local every_other = fill({ rows, 2 * n }, { dtype = dtype }):slice(2, 1, 2 * n, 2):copy_(g)
        for _, given in ipairs { g, g:t():contiguous():t(), every_other } do
          local weight, bias = given:linear_gradients(x)
          close(weight, dweight, bound)
          close(bias, sums, bound)
        end
      end
    end
    fails("linear_gradients: expected two matrices of as many rows, got f64 [3,2] and f64 [2,3]",
      function() fill({ 3, 2 }):linear_gradients(fill { 2, 3 }) end)
    fails("i32 [2,2] is not a float tensor", function()
      mosaic.ones({ 2, 2, dtype = "i32" }):linear_gradients(mosaic.ones { 2, 3, dtype = "i32" })
    end)
  end)

  it("sums a gradient's columns as doubles do, whatever is in them", function()
    local g, x = fill({ 500, 96 }, { dtype = "f32" }), fill({ 500, 96 }, { dtype = "f32", seed = 1 })
    g[7][3]:fill_(math.huge)
    g[8][4]:fill_(0 / 0)
    g[9][5]:fill_(2 ^ 127)
    g[10][5]:fill_(2 ^ 127)
    g[11][5]:fill_(-2 ^ 127)
    g:select(2, 6):fill_(2 ^ -140)
    local _, sums = g:linear_gradients(x)
    local want = g:to "f64":sum(1)
    assert.same({ math.huge, 500 * 2 ^ -140 }, { sums[3]:item(), sums[6]:item() })
    assert.is_true(sums[4]:item() ~= sums[4]:item())
    close(sums:narrow(1, 7, 90), want:narrow(1, 7, 90):tolist(), 1e-6)
  end)

  it("goes back through a linear and the GELU before it", function()
    for dtype, bound in pairs { f64 = 1e-13, f32 = 2e-6, bf16 = 2 ^ -6 } do
      for _, size in ipairs { { 3, 4, 5 }, { 300, 33, 49 }, { 200, 96, 192 }, { 2, 5000, 8 } } do
        local m, n, k = unpack(size)
        local g, w = fill({ m, n }, { dtype = dtype }), fill({ n, k }, { dtype = dtype, seed = 1 })
        local before = fill({ m, k }, { dtype = dtype, seed = 2 })
        local want, at = product(g, w), before:tolist()
        for i = 1, m do
          for j = 1, k do
            local x = at[i][j]
            local t = math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ^ 3))
            local slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
            want[i][j] = want[i][j] * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * slope)
          end
        end
        close(g:linear_gelu_backward(w, before, "tanh"), want, bound)
        close(g:linear_gelu_backward(w, before:t():contiguous():t(), "tanh"), want, bound)
        close(g:linear_gelu_backward(w, before), g:matmul(w):activation_backward("gelu", before), bound)
      end
    end
    local g, w, x = fill({ 4 }, { seed = 3 }), fill({ 4, 3 }), fill { 3 }
    close(g:linear_gelu_backward(w, x), g:matmul(w):activation_backward("gelu", x), 1e-14)
    fails("linear_gelu_backward: what GELU was of, f64 [4], is not as",
      function() g:linear_gelu_backward(w, g) end)
  end)

  it("gives linear's input its gradient, added to one that is there", function()
    for dtype, bound in pairs { f64 = 1e-13, f32 = 2e-6, bf16 = 2 ^ -6 } do
      for _, size in ipairs { { 3, 4, 5 }, { 300, 33, 49 }, { 200, 400, 96 }, { 2, 5000, 8 } } do
        local m, n, k = unpack(size)
        local g, w = fill({ m, n }, { dtype = dtype }), fill({ n, k }, { dtype = dtype, seed = 1 })
        local before, want = fill({ m, k }, { dtype = dtype, seed = 2 }), product(g, w)
        close(g:linear_backward(w), want, bound)
        want = (mosaic.tensor(want, { dtype = "f64" }) + before:to "f64"):tolist()
        close(g:linear_backward(w, before), want, bound)
        close(g:linear_backward(w, before:t():contiguous():t()), want, bound)
        close(before, fill({ m, k }, { dtype = dtype, seed = 2 }):tolist(), 0)
      end
    end
    local g, w, x = fill({ 4 }, { seed = 3 }), fill({ 4, 3 }), fill { 3 }
    close(g:linear_backward(w, x), g:matmul(w) + x, 1e-14)
    close(fill({ 2, 70, 4 }):linear_backward(w, fill { 2, 70, 3 })[2],
      fill({ 2, 70, 4 })[2]:matmul(w) + fill({ 2, 70, 3 })[2], 1e-14)
    fails("linear_backward: the weight must be [4,in] for the gradient", function() g:linear_backward(x) end)
    fails("what is added, f64 [4], is not as the product", function() g:linear_backward(w, g) end)
  end)
end)
