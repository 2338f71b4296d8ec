--- Who keeps what alive: tensors are freed in a sweep after the collector has been round, not one by one.
local mosaic = require "mosaic"
local close = require "spec.support.close"
local fails = require "spec.support.fails"
local program = require "spec.support.program"

local function leaf(values)
  return mosaic.tensor(values, { dtype = "f64", requires_grad = true })
end

local function live()
  mosaic.collect()
  return mosaic.memory().live_bytes
end

--- Overwrites freed memory, if there is any.
local function litter()
  collectgarbage()
  for i = 1, 200 do mosaic.full({ 3 }, -i, { dtype = "f64" }) end
end

describe("a tensor's memory", function()
  it("stays while a view of it is there, and goes with the last one", function()
    local before = live()
    local row = mosaic.arange(1, 3000, { dtype = "f64" }):view(1000, 3)[500]
    litter()
    assert.same({ 1498, 1499, 1500 }, row:tolist())
    assert.is_true(live() >= before + 24000)
    row = nil -- luacheck: ignore
    assert.equal(before, live())
  end)

  it("comes back from a hundred thousand dropped results without being asked", function()
    -- in a process of its own: the larger Lua's heap, the later a cycle of its collector ends
    local path = program.script [[
      local mosaic = require "mosaic"
      local x = mosaic.tensor({ 1, 2, 3 }, { dtype = "f64", requires_grad = true })
      mosaic.collect()
      mosaic.reset_peak_memory()
      local before = mosaic.memory()
      for _ = 1, 100000 do local _ = x * x end
      local after = mosaic.memory()
      print(after.allocations - before.allocations, (after.peak_bytes - before.live_bytes) / 24)]]
    local result = program(path)
    os.remove(path)
    local made, most = result.out:match "^(%d+)%s+(%d+)"
    assert.equal(100000, tonumber(made), result.err)
    assert(tonumber(most) < 100000 / 2, most)
  end)

  it("comes back from graphs that nobody walked, and from walked ones whose loss is kept", function()
    local x, losses = leaf { 1, 2, 3 }, {}
    local function step(walk)
      local y = x:view(3, 1):expand(3, 1000):clone()
      losses[#losses + 1] = ((y * y):tanh() * y):sum()
      if walk then losses[#losses]:backward() end
    end
    step(true)
    local before = live()
    for _ = 1, 3 do step(true) end
    assert.is_true(live() - before <= 3 * 8 + 24)
    step(false)
    assert.is_true(live() - before >= 2 * 24000)
    losses = {}
    assert.is_true(live() - before <= 24)
  end)

  it("comes back after an error in the middle of a walk", function()
    local fragile = mosaic.autograd.Function("fragile", {
      forward = function(_, x) return x * 1 end,
      backward = function() error "no gradient today" end,
    })
    local x = leaf { 1, 2, 3 }
    local before = live()
    for _ = 1, 3 do
      local y = x:view(3, 1):expand(3, 1000):clone()
      assert.is_false(pcall(function() (fragile(y * y) * y):sum():backward() end))
    end
    assert.equal(before, live())
    assert.is_nil(x.grad)
  end)
end)

describe("the walk back", function()
  it("is right when the collector runs between any two of its steps", function()
    local collects = mosaic.autograd.Function("collects", {
      forward = function(_, x) return x * 1 end,
      backward = function(_, g)
        litter()
        return g
      end,
    })
    local x, w = leaf { 1, 2, 3 }, leaf { 4, 5, 6 }
    local y = x
    for _ = 1, 3 do y = collects(y * w + x) end
    litter()
    y:sum():backward()
    litter()
    -- y = x (w^3 + w^2 + w + 1), dy/dw = x (3 w^2 + 2 w + 1)
    assert.same({ 64 + 16 + 4 + 1, 125 + 25 + 5 + 1, 216 + 36 + 6 + 1 }, x.grad:tolist())
    assert.same({ 48 + 8 + 1, 2 * (75 + 10 + 1), 3 * (108 + 12 + 1) }, w.grad:tolist())
  end)

  it("finds nodes from long ago, in the order in which they were made", function()
    local order = {}
    local note = mosaic.autograd.Function("note", {
      forward = function(ctx, x, name)
        ctx.name = name
        return x * 1
      end,
      backward = function(ctx, g)
        order[#order + 1] = ctx.name
        return g
      end,
    })
    local x = leaf { 1 }
    local first, second = note(x, "first"), note(x, "second")
    local y = x
    for _ = 1, 10000 do y = y + x end
    local third = note(x * 3, "third")
    for _ = 1, 5000 do local _ = x + x end -- not part of it
    (second * third + y + first):sum():backward()
    assert.same({ "third", "second", "first" }, order)
    assert.same({ 6 + 10001 + 1 }, x.grad:tolist()) -- 3 x^2 + 10001 x + x
  end)

  it("refuses what was freed", function()
    local x = leaf { 1, 2 }
    local y = x * 2
    local z = (y * y):sum()
    y:free()
    fails("backward: a tensor was freed that mul needs", function() z:backward() end)
    assert.is_nil(x.grad)
    fails("add: an operand is not a tensor, or was freed", function() return y + 1 end)
  end)

  it("lets two walks share leaves, one inside the other", function()
    local x = leaf { 2, 3 }
    local y = mosaic.checkpoint(function(a) return a * x end, x * x) + x * 5
    y:sum():backward()
    assert.same({ 3 * 4 + 5, 3 * 9 + 5 }, x.grad:tolist())
  end)

  it("adds to a sum of gradients in place, never to a gradient that somebody has", function()
    local seen = {}
    local watch = mosaic.autograd.Function("watch", {
      forward = function(_, x) return x * 1 end,
      backward = function(_, g)
        seen[#seen + 1] = g
        return g
      end,
    })
    local x = leaf { 1 }
    local parts = {}
    for i = 1, 4 do parts[i] = watch(x) * i end
    local g = mosaic.tensor({ 1 }, { dtype = "f64" });
    (parts[1] + parts[2] + parts[3] + parts[4]):backward(g)
    assert.same({ 10 }, x.grad:tolist())
    assert.same({ 1 }, g:tolist())
    for i = 1, 4 do assert.same({ 5 - i }, seen[i]:tolist()) end
  end)

  it("adds a slice's gradient to what has arrived, never to what the caller has", function()
    local x, w = leaf { 1, 2, 3, 4 }, leaf { { 1, 1, 1, 1 } }
    local part, one = x:narrow(1, 2, 2), x:select(1, 4)
    local square, product = x:view(2, 2), x:view(1, 4):linear(w)
    local g = mosaic.tensor({ { 1, 1 }, { 1, 1 } }, { dtype = "f64" })
    local roots = { (part * 10):sum(), one * 100, square, product:sum() } -- square's gradient comes first
    mosaic.autograd.backward(roots, { [3] = g }, { retain_graph = true })
    assert.same({ 2, 12, 12, 102 }, x.grad:tolist())
    mosaic.autograd.backward({ square, roots[1] }, { g }) -- and is all that there is before the slice's
    assert.same({ 3, 23, 23, 103 }, x.grad:tolist())
    assert.same({ { 1, 1 }, { 1, 1 } }, g:tolist())
    assert.same({ { 1, 2, 3, 4 } }, w.grad:tolist())
  end)
end)

describe("what the walk back frees", function()
  local MIB = 2 ^ 20

  it("is gradients as soon as they are read: two at a time, and the leaf's own", function()
    local x = mosaic.ones({ MIB / 4 }, { requires_grad = true })
    local y, root = x, mosaic.ones { MIB / 4 }
    for _ = 1, 16 do y = y:tanh() end
    mosaic.collect()
    local before = mosaic.memory().live_bytes
    mosaic.reset_peak_memory()
    y:backward(root)
    assert.is_true(mosaic.memory().peak_bytes - before <= 3 * MIB)
    assert.equal(MIB / 4, root:sum():item())
  end)

  it("is not what rules hand on, nor what the caller has", function()
    local a, b = mosaic.ones({ 2, 3 }, { requires_grad = true }), mosaic.ones({ 3 }, { requires_grad = true })
    local root = mosaic.ones { 2, 3 }
    local sum = a + b
    local y = sum:view(6) * 3 + (sum + a):view(6) + sum:view(6)
    y:view(2, 3):backward(root, { retain_graph = true })
    for round = 1, 2 do
      close(a.grad, { { 6 * round, 6 * round, 6 * round }, { 6 * round, 6 * round, 6 * round } })
      close(b.grad, { 10 * round, 10 * round, 10 * round })
      if round == 1 then y:view(2, 3):backward(root) end
    end
    a.grad:add_(1)
    close(b.grad, { 20, 20, 20 })
    assert.equal(6, root:sum():item())
  end)

  it("is what only backward has, too; at once where there is none", function()
    local x, w = mosaic.ones { 1024, 64 }, mosaic.ones({ 1024, 64 }, { requires_grad = true })
    mosaic.collect()
    local before = mosaic.memory().live_bytes
    local out = x:linear_gelu(w) -- 4 MiB, and as much between the two
    assert.equal(8 * MIB, mosaic.memory().live_bytes - before)
    out:backward(out:ones_like())
    assert.is_true(mosaic.memory().live_bytes - before <= 8.6 * MIB) -- out, where it started, w.grad
    out:free()
    before = mosaic.memory().live_bytes
    mosaic.no_grad(x.linear_gelu, x, w)
    assert.equal(4 * MIB, mosaic.memory().live_bytes - before)
  end)
end)

describe("a training step", function()
  --- Bytes that the process has for tensors, in use or not, when what is not reachable has been freed.
  local function held()
    collectgarbage()
    local memory = mosaic.memory()
    return memory.live_bytes + memory.cached_bytes
  end

  it("takes nothing from the system that the step before it did not, and gives it back when asked", function()
    local size = { in_features = 64, out_features = 64 }
    local layers = mosaic.nn.Sequential { mosaic.nn.Linear(size), mosaic.nn.Linear(size) }
    local optimizer = mosaic.optim.AdamW { params = layers:parameters(), lr = 1e-3 }
    local function step(rows)
      local y = layers(mosaic.randn { rows, 64 })
      y:gelu():softmax():square():sum():backward()
      optimizer:step()
      optimizer:zero_grad()
      return held()
    end
    jit.off() -- closures and frames of compiled code may have a tensor longer than they need it
    finally(function() jit.on() end)
    mosaic.collect()
    local before = held()
    step(64)
    local first = step(64)
    assert.is_true(first - before > 8 * 16384) -- an activation has 16 KiB
    for _ = 1, 20 do assert.equal(first, step(64)) end
    assert.is_true(step(128) - first > 8 * 16384)
    mosaic.collect()
    assert.equal(0, mosaic.memory().cached_bytes)
    assert.is_true(held() - before < 3 * 4 * 64 * 64 * 4 * 2)
  end)

  it("is cleared up once, after its walk back, however much it makes", function()
    local heap, collections = require "mosaic.heap", 0
    local collect, x = heap.collect, mosaic.ones({ 2 ^ 20 }, { requires_grad = true })
    function heap.collect()
      collections = collections + 1
      collect()
    end
    local function step()
      local y = x
      for _ = 1, 24 do y = y:tanh() end -- 4 MiB each, and as much for their gradients
      local forward = collections
      y:sum():backward()
      x.grad = nil
      return forward
    end
    mosaic.collect()
    step() -- how much it makes is learned
    local first = mosaic.memory().live_bytes
    collections = 0
    local found = {}
    for i = 1, 4 do found[i] = { step(), collections } end
    heap.collect = collect
    assert.same({ { 0, 1 }, { 1, 2 }, { 2, 3 }, { 3, 4 } }, found)
    assert.is_true(math.max(first, mosaic.memory().live_bytes) < 48 * 2 ^ 20)
  end)
end)
