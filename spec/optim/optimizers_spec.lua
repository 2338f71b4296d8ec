local mosaic = require "mosaic"
local optim = mosaic.optim
local close = require "spec.support.close"
local fails = require "spec.support.fails"

local START = { 0.5, -1.25, 2 }

--- The gradient of step k (from 0) at p: smooth, different every step.
local function slope(p, k)
  local g = {}
  for i = 1, #p do g[i] = math.sin(3 * p[i] + k) + 0.1 * i end
  return g
end

--- Five steps of the optimizer on one parameter; returns the parameter after each.
local function run(make)
  local p = mosaic.tensor(START, { dtype = "f64", requires_grad = true })
  local optimizer, path = make { p }, {}
  for k = 0, 4 do
    p.grad = mosaic.tensor(slope(p:flat(), k), { dtype = "f64" })
    optimizer:step()
    path[k + 1] = p:tolist()
  end
  return path, optimizer, p
end

--- The same in plain numbers: step(p, g, k, s) -> p for one element with its own state s.
local function expected(step)
  local p, state, path = { unpack(START) }, { {}, {}, {} }, {}
  for k = 0, 4 do
    local g = slope(p, k)
    for i = 1, 3 do p[i] = step(p[i], g[i], k, state[i]) end
    path[k + 1] = { unpack(p) }
  end
  return path
end

local function adam(p, g, k, s)
  s.m = 0.9 * (s.m or 0) + 0.1 * g
  s.v = 0.99 * (s.v or 0) + 0.01 * g * g
  return p - 0.05 * (s.m / (1 - 0.9 ^ (k + 1))) / (math.sqrt(s.v / (1 - 0.99 ^ (k + 1))) + 1e-8)
end

describe("optim.SGD", function()
  it("plain, and with weight decay", function()
    close(run(function(params) return optim.SGD { params = params, lr = 0.1, weight_decay = 0.2 } end),
      expected(function(p, g) return p - 0.1 * (g + 0.2 * p) end))
  end)

  it("with momentum", function()
    close(run(function(params) return optim.SGD { params = params, lr = 0.1, momentum = 0.9 } end),
      expected(function(p, g, _, s)
        s.m = 0.9 * (s.m or 0) + g
        return p - 0.1 * s.m
      end))
  end)

  it("with Nesterov's momentum", function()
    close(run(function(params)
      return optim.SGD { params = params, lr = 0.1, momentum = 0.9, nesterov = true }
    end), expected(function(p, g, _, s)
      s.m = 0.9 * (s.m or 0) + g
      return p - 0.1 * (g + 0.9 * s.m)
    end))
    local p = mosaic.zeros { 1, requires_grad = true }
    fails("SGD: nesterov needs a momentum above 0",
      function() optim.SGD { params = { p }, lr = 1, nesterov = true } end)
  end)
end)

describe("optim.Adam", function()
  it("follows its formula", function()
    close(run(function(params) return optim.Adam { params = params, lr = 0.05, betas = { 0.9, 0.99 } } end),
      expected(adam))
  end)

  it("adds decay to the gradient; AdamW shrinks the parameter instead", function()
    local options = { lr = 0.05, betas = { 0.9, 0.99 }, weight_decay = 0.3 }
    close(run(function(params)
      options.params = params
      return optim.Adam(options)
    end), expected(function(p, g, k, s) return adam(p, g + 0.3 * p, k, s) end))
    close(run(function(params)
      options.params = params
      return optim.AdamW(options)
    end), expected(function(p, g, k, s) return adam(p * (1 - 0.05 * 0.3), g, k, s) end))
  end)
end)

local function schedule_free(y, g, k, s)
  s.z, s.v = s.z or y, 0.99 * (s.v or 0) + 0.01 * g * g
  local h = g / (math.sqrt(s.v / (1 - 0.99 ^ (k + 1))) + 1e-8)
  local c = 1 / (k + 1)
  y = y + c * (s.z - y)
  y = y + 0.05 * (0.9 * (1 - c) - 1) * h
  s.z = s.z - 0.05 * h
  s.x = y + (1 - 1 / 0.9) * (s.z - y)
  return y
end

describe("optim.ScheduleFreeAdamW", function()
  local function make(params)
    return optim.ScheduleFreeAdamW { params = params, lr = 0.05, betas = { 0.9, 0.99 } }
  end

  it("follows its formula", function()
    close(run(make), expected(schedule_free))
  end)

  it("evaluates at x and returns to exactly the same y", function()
    local _, optimizer, p = run(make)
    local y, x = p:tolist(), {}
    local last = {}
    expected(function(value, g, k, s)
      last[#last + 1] = s
      return schedule_free(value, g, k, s)
    end)
    for i = 1, 3 do x[i] = last[12 + i].x end
    optimizer:eval()
    close(p, x)
    fails("ScheduleFreeAdamW: step() while the parameters hold the average; call train() first",
      function() optimizer:step() end)
    fails("ScheduleFreeAdamW: state_dict() while the parameters hold the average; call train() first",
      function() optimizer:state_dict() end)
    optimizer:eval():train()
    assert.same(y, p:tolist())
  end)

  it("weighs steps by the square of a changed rate", function()
    local p = mosaic.tensor({ 1 }, { dtype = "f64", requires_grad = true })
    local optimizer = optim.ScheduleFreeAdamW { params = { p }, lr = 0.1 }
    local y, z, v, sum, lrs = 1, 1, 0, 0, { 0.1, 0.2, 0.1 }
    for k = 0, 2 do
      local g = math.cos(k) + y
      v = 0.999 * v + 0.001 * g * g
      local h = g / (math.sqrt(v / (1 - 0.999 ^ (k + 1))) + 1e-8)
      local weight = math.max(lrs[k + 1], k > 0 and 0.2 or 0) ^ 2
      sum = sum + weight
      local c = weight / sum
      y = y + c * (z - y) + lrs[k + 1] * (0.9 * (1 - c) - 1) * h
      z = z - lrs[k + 1] * h
      p.grad = mosaic.tensor({ g }, { dtype = "f64" })
      optimizer.lr = lrs[k + 1]
      optimizer:step()
    end
    close(p, { y })
  end)
end)

describe("an optimizer", function()
  local makers = {
    SGD = function(params) return optim.SGD { params = params, lr = 0.1, momentum = 0.9 } end,
    AdamW = function(params) return optim.AdamW { params = params } end,
    ScheduleFreeAdamW = function(params) return optim.ScheduleFreeAdamW { params = params } end,
  }

  for name, make in pairs(makers) do
    it("goes on from a saved state as if never stopped: " .. name, function()
      local _, optimizer, p = run(make)
      local q = p:detach():clone():requires_grad_()
      local other = make { q }
      other:load_state_dict(optimizer:state_dict())
      for k = 5, 7 do
        p.grad = mosaic.tensor(slope(p:flat(), k), { dtype = "f64" })
        q.grad = p.grad:clone()
        optimizer:step()
        other:step()
      end
      assert.same(p:tolist(), q:tolist())
    end)
  end

  it("follows its parameters to another dtype", function()
    for _, make in pairs(makers) do
      local p = mosaic.tensor({ 1, -2 }, { requires_grad = true })
      local model = mosaic.nn.Module()
      model.weight = p
      local optimizer = make { p }
      local function step()
        p.grad = p:detach() * 0.3
        optimizer:step()
      end
      step()
      model:to "f64"
      local q = p:detach():clone():requires_grad_()
      local other = make { q }
      other:load_state_dict(optimizer:state_dict())
      step()
      q.grad = q:detach() * 0.3
      other:step()
      assert.same(q:tolist(), p:tolist())
      for name, t in pairs(optimizer.state) do assert.equal("f64", t.dtype, name) end
    end
  end)

  it("leaves parameters without a gradient alone, and forgets gradients", function()
    local p, q = mosaic.ones { 2, requires_grad = true }, mosaic.ones { 2, requires_grad = true }
    local optimizer = optim.SGD { params = { p, q }, lr = 0.5 }
    p:sum():backward()
    optimizer:step()
    optimizer:zero_grad()
    assert.same({ 0.5, 0.5 }, p:tolist())
    assert.same({ 1, 1 }, q:tolist())
    assert.is_nil(p.grad)
  end)

  it("refuses what it cannot use, with the values", function()
    local p = mosaic.zeros { 2, requires_grad = true }
    fails("SGD: option 'lr' (number) is missing", function() optim.SGD { params = { p } } end)
    fails("Adam: lr must be at least 0, got -1", function() optim.Adam { params = { p }, lr = -1 } end)
    fails("Adam: betas must be two numbers at least 0 and below 1, got 1 at 2",
      function() optim.Adam { params = { p }, betas = { 0.9, 1 } } end)
    fails("Adam: unknown option 'epsilon'", function() optim.Adam { params = { p }, epsilon = 1 } end)
    fails("AdamW: params must be a list of tensors, such as model:parameters()",
      function() optim.AdamW { params = p } end)
    fails("AdamW: entry 1 of params is not a tensor that requires a gradient: f32 [2]",
      function() optim.AdamW { params = { p:detach() } } end)
    local adam_state = optim.Adam { params = { p } }
    fails("load_state_dict: mean.1 f32 [3] does not fit this Adam of 1 parameters (parameter 1 is f32 [2])",
      function()
        local one = mosaic.ones { 1 }
        adam_state:load_state_dict { steps = one, lr = one, ["mean.1"] = mosaic.zeros { 3 } }
      end)
    fails("load_state_dict: mean.1 must be a tensor, got 3", function()
      adam_state:load_state_dict { steps = mosaic.ones { 1 }, lr = mosaic.ones { 1 }, ["mean.1"] = 3 }
    end)
    local free = optim.ScheduleFreeAdamW { params = { p, mosaic.zeros { 1, requires_grad = true } } }
    local missing = "load_state_dict: not the state of a ScheduleFreeAdamW of 2 parameters: %s is missing"
    local state, sgd = free:state_dict(), optim.SGD { params = { p }, lr = 3 }
    fails(missing:format "weight_sum", function() free:load_state_dict(sgd:state_dict()) end)
    assert.equal(2.5e-3, free.lr)
    state["z.2"] = nil
    fails(missing:format "z.2", function() free:load_state_dict(state) end)
  end)
end)

describe("optim.clip_grad_norm_", function()
  local function with_gradients()
    local p, q = mosaic.zeros { 2, requires_grad = true }, mosaic.zeros { 1, requires_grad = true }
    p.grad, q.grad = mosaic.tensor { 3, 0 }, mosaic.tensor { 4 }
    return { p, q }
  end

  it("scales all gradients by one factor to the norm", function()
    local params = with_gradients()
    close(optim.clip_grad_norm_(params, 1), 5, 1e-7)
    close(params[1].grad, { 0.6, 0 }, 1e-6)
    close(params[2].grad, { 0.8 }, 1e-6)
  end)

  it("has more digits of the norm than halves have, and sums squares that no f32 could hold", function()
    local p = mosaic.zeros { 2, dtype = "bf16", requires_grad = true }
    local q = mosaic.zeros { 2, requires_grad = true }
    p.grad = mosaic.tensor({ 1, 0.0625 }, { dtype = "bf16" })
    close(optim.clip_grad_norm_({ p }, 2), math.sqrt(1 + 1 / 256), 1e-7)
    for _, size in ipairs { 1e25, 1e-25 } do
      q.grad = mosaic.tensor { 3 * size, 4 * size }
      close(optim.clip_grad_norm_({ q }, 1) / size, 5, 1e-7)
    end
  end)

  it("leaves shorter gradients as they are", function()
    local params = with_gradients()
    assert.equal(5, optim.clip_grad_norm_(params, 7))
    assert.same({ 3, 0 }, params[1].grad:tolist())
  end)

  it("refuses a norm that is not finite", function()
    local params = with_gradients()
    params[1].grad:fill_(0 / 0)
    fails("clip_grad_norm_: max_norm must be at least 0, got -1",
      function() optim.clip_grad_norm_(params, -1) end)
    fails("clip_grad_norm_: the norm of the gradients is ", function() optim.clip_grad_norm_(params, 1) end)
  end)
end)

describe("optim.schedules", function()
  local schedules = optim.schedules

  it("constant, with a linear warm-up that moves from the first step on", function()
    local rate = schedules.constant { lr = 2, warm_up = 4 }
    close({ rate(0), rate(1), rate(3), rate(4), rate(99) }, { 0.5, 1, 2, 2, 2 })
  end)

  it("linear and cosine end at `final`, and stay there", function()
    local line = schedules.linear { lr = 1, steps = 10, final = 0.2 }
    close({ line(0), line(5), line(10), line(20) }, { 1, 0.6, 0.2, 0.2 })
    local wave = schedules.cosine { lr = 1, warm_up = 10, steps = 30 }
    close({ wave(9), wave(10), wave(15), wave(20), wave(30), wave(31) },
      { 1, 1, (1 + math.cos(math.pi / 4)) / 2, 0.5, 0, 0 })
  end)

  it("step multiplies every so many steps", function()
    local rate = schedules.step { lr = 1, every = 3, factor = 0.5 }
    close({ rate(0), rate(2), rate(3), rate(8) }, { 1, 1, 0.5, 0.25 })
    fails("cosine: option 'steps' (integer) is missing", function() schedules.cosine { lr = 1 } end)
    fails("linear: option 'final' must be of type number, got \"a\"",
      function() schedules.linear { lr = 1, steps = 2, final = "a" } end)
    fails("step: option 'factor' must be of type number, got \"a\"",
      function() schedules.step { lr = 1, every = 2, factor = "a" } end)
    fails("linear: unknown option 'warmup', did you mean 'warm_up'?",
      function() schedules.linear { lr = 1, steps = 2, warmup = 3 } end)
  end)
end)
