local mosaic = require "mosaic"
local fails = require "spec.support.fails"

local function leaf(values)
  return mosaic.tensor(values, { dtype = "f64", requires_grad = true })
end

describe("the tape", function()
  it("adds up a value's uses", function()
    local x = leaf { 1, 2, 3 }
    mosaic.Tensor.backward((x * x + x):sum())
    assert.same({ 3, 5, 7 }, x.grad:tolist())
  end)

  it("records the joining of twenty thousand parts", function()
    local x, parts = leaf { 2, 3 }, {}
    for i = 1, 20000 do parts[i] = i % 2 == 0 and x or x:detach() end
    local y = mosaic.cat(parts)
    assert.same({ 40000 }, y.shape)
    y:mul(mosaic.arange(1, 40000, { dtype = "f64" })):sum():backward()
    -- x starts at 3, 7, ..., 39999
    assert.same({ 10000 * (3 + 39999) / 2, 10000 * (4 + 40000) / 2 }, x.grad:tolist())
  end)

  it("records the splitting into twenty thousand parts, some of them unused", function()
    local x = mosaic.arange(1, 40000, { dtype = "f64" }):view(20000, 2):requires_grad_()
    local parts, sum = x:split(1), nil
    for i = 1, 20000, 4999 do
      local term = (parts[i] * parts[i]):sum()
      sum = sum and sum + term or term
    end
    sum:backward()
    for i = 1, 20000 do
      local used = i % 4999 == 1
      assert.equal(used and 2 * x:get(i, 2) or 0, x.grad:get(i, 2))
    end
  end)

  it("accumulates over calls of backward", function()
    local x = leaf { 2 }
    for _ = 1, 3 do (x * 5):sum():backward() end
    assert.same({ 15 }, x.grad:tolist())
  end)

  it("sums a broadcast argument's gradient to its shape", function()
    local x, row, scalar = leaf { { 1, 2 }, { 3, 4 }, { 5, 6 } }, leaf { 10, 20 }, leaf { { 2 } }
    mosaic.Tensor.backward((x * row * scalar):sum())
    assert.same({ { 20, 40 }, { 20, 40 }, { 20, 40 } }, x.grad:tolist())
    assert.same({ 2 * 9, 2 * 12 }, row.grad:tolist())
    assert.same({ { 10 * 9 + 20 * 12 } }, scalar.grad:tolist())
  end)

  it("gives an input its own dtype back", function()
    local x = mosaic.tensor({ 1, 2 }, { dtype = "f32", requires_grad = true })
    mosaic.Tensor.backward((x:to "f64" * 3):sum())
    assert.equal("f32", x.grad.dtype)
    assert.same({ 3, 3 }, x.grad:tolist())
  end)

  it("refuses to yield in a coroutine where recording is off or on for a while", function()
    local x = mosaic.ones({ 2 }):requires_grad_()
    for _, where in ipairs { "no_grad", "checkpoint", "with_device" } do
      local run = mosaic[where]
      local function call(body, ...)
        if where == "with_device" then return run("cpu", body, ...) end
        return run(body, ...)
      end
      local co = coroutine.create(function() call(coroutine.yield) end)
      local ok, message = coroutine.resume(co)
      assert.is_false(ok)
      assert.equal("attempt to yield across C-call boundary: the body of " .. where
        .. " cannot yield in a coroutine", message)
      assert.is_true((x * 2).requires_grad)
      local doubled = coroutine.wrap(call)(function(t) return t * 2 end, x)
      assert.same({ 2, 2 }, doubled:flat())
      assert.equal(where ~= "no_grad", doubled.requires_grad)
    end
  end)

  it("does not record under no_grad, and records again after an error inside", function()
    local x = leaf { 1 }
    local y = mosaic.no_grad(function() return x * 2 end)
    assert.is_falsy(y.edge)
    pcall(mosaic.no_grad, function() error "x" end)
    assert.truthy((x * 2).edge)
  end)

  it("cuts at detach", function()
    local x = leaf { 3 }
    mosaic.Tensor.backward((x * x:detach()):sum())
    assert.same({ 3 }, x.grad:tolist())
  end)

  it("keeps two leaves' gradients apart although add hands both the same one", function()
    local x, y = leaf { 1 }, leaf { 1 }
    mosaic.Tensor.backward((x + y):sum())
    x.grad:mul_(10)
    assert.same({ 1 }, y.grad:tolist())
  end)

  it("refuses a second walk unless the graph is kept", function()
    local x = leaf { 2 }
    local y = (x * x):sum()
    y:backward(nil, { retain_graph = true })
    y:backward()
    assert.same({ 8 }, x.grad:tolist())
    fails("backward: sum was already walked back", function() (y * 1):backward() end)
  end)

  it("keeps no values of what is summed or averaged", function()
    local x = leaf { 1, 2, 3, 4 }
    local y = x * 2
    local z = y:mean() + y:sum()
    y:detach():fill_(0)
    z:backward()
    assert.same({ 2.5, 2.5, 2.5, 2.5 }, x.grad:tolist())
  end)

  it("refuses what would give wrong gradients", function()
    local x = leaf { 1, 2 }
    local y = x * 2
    fails("mul_: f64 [2] takes part in a gradient", function() y:mul_(2) end)
    local z = (y * y):sum()
    y:detach():fill_(0)
    fails("backward: f64 [2] was changed in place after mul had used it", function() z:backward() end)
    fails("is not a scalar", function() (x * 2):backward() end)
    fails("the gradient is f64 [3], the tensor f64 [2]", function()
      (x * 2):backward(mosaic.tensor({ 1, 2, 3 }, { dtype = "f64" }))
    end)
    fails("requires_grad_: i64 [2] is not a float tensor", function()
      mosaic.tensor({ 1, 2 }, { dtype = "i64" }):requires_grad_()
    end)
  end)

  it("leaves nothing half-summed behind when a walk fails", function()
    local broken = true
    local fragile = mosaic.autograd.Function("fragile", {
      forward = function(_, x) return x * 1 end,
      backward = function(_, g)
        if broken then error "no gradient today" end
        return g
      end,
    })
    local x = leaf { 1 }
    local y = fragile(x * 3)
    assert.is_false(pcall(function() (x * y):backward(nil, { retain_graph = true }) end))
    assert.is_nil(x.grad)
    broken = false;
    (y * 2):backward()
    assert.same({ 6 }, x.grad:tolist())
  end)

  it("differentiates views", function()
    local x = mosaic.arange(1, 24, { dtype = "f64" }):view(2, 3, 4):clone():requires_grad_()
    local cases = {
      view = function(t) return t:view(6, 4) end,
      permute = function(t) return t:permute(3, 1, 2) end,
      slice = function(t) return t:slice(3, 1, 4, 2) end,
      select = function(t) return t:select(2, -1) end,
      expand = function(t) return t:unsqueeze(1):expand(5, 2, 3, 4) end,
      clone = function(t) return t:t():clone() end,
    }
    for _, case in pairs(cases) do
      assert.is_true(mosaic.gradcheck(function(t) return case(t) * case(t) end, { x }))
    end
  end)
end)

describe("a Function", function()
  local Function = mosaic.autograd.Function

  it("passes gradients by its own rule, nil where none arrived", function()
    local split = Function("split", {
      forward = function(ctx, x, factor)
        ctx.factor = factor
        return x * factor, x * 2
      end,
      backward = function(ctx, first, second)
        assert.is_nil(second)
        return first * ctx.factor
      end,
    })
    local x = leaf { 1, 2 }
    local a = split(x, 7)
    a:sum():backward()
    assert.same({ 7, 7 }, x.grad:tolist())
  end)

  it("notices that a saved tensor changed", function()
    local square = Function("square", {
      forward = function(ctx, x)
        ctx:save("x", x)
        return x * x
      end,
      backward = function(ctx, g) return g * ctx.x * 2 end,
    })
    local x = leaf { 3 }
    local y = square(x)
    mosaic.no_grad(function() x:mul_(2) end)
    fails("backward: f64 [1] was changed in place after square had used it", function() y:backward() end)
  end)

  it("permute finds its way back however the axes were given", function()
    local x = mosaic.tensor({ { { 1, 2 }, { 3, 4 }, { 5, 6 } } }, { dtype = "f64" }):requires_grad_()
    mosaic.gradcheck(function(a)
      return a:permute(2, 3, 1), a:permute { -1, 1, 2 }, a:permute(3, 1, 2)
    end, { x })
  end)
end)

describe("gradcheck", function()
  it("names the element where a derivative is wrong", function()
    local wrong = mosaic.autograd.Function("wrong", {
      forward = function(_, x) return x * x end,
      backward = function(_, g) return g end,
    })
    fails("gradcheck: input 1, element 1: backward gives", function()
      mosaic.gradcheck(wrong, { leaf { 3, 1 } })
    end)
  end)
end)
