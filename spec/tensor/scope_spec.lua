local mosaic = require "mosaic"
local fails = require "spec.support.fails"

local function live() return mosaic.memory().live_bytes end

describe("a scope", function()
  it("frees what its body makes and does not return", function()
    mosaic.collect()
    local before, lost = live(), nil
    local a, text, b = mosaic.scope(function(n)
      lost = mosaic.ones { 1000 }
      local doubled = lost * n
      return doubled:slice(1, 1, 3), "text", mosaic.zeros { 2 }
    end, 2)
    assert.same({ 2, 2, 2 }, a:flat())
    assert.same({ 0, 0 }, b:flat())
    assert.equal("text", text)
    assert.equal(4000 + 8, live() - before) -- what a is a view of, and b
    assert.is_false(pcall(function() return lost + 1 end))
  end)

  it("within another leaves its results to that one", function()
    local kept, lost
    local result = mosaic.scope(function()
      kept = mosaic.scope(function() return mosaic.ones { 3 } end)
      lost = mosaic.scope(function() return mosaic.ones { 3 } end)
      return kept
    end)
    assert.same({ 1, 1, 1 }, result:flat())
    assert.same({ 1, 1, 1 }, kept:flat())
    assert.is_false(pcall(function() return lost + 1 end))
    assert.same({ 2 }, mosaic.ones({ 1 }):add(1):flat()) -- and nothing is freed behind it
  end)

  it("frees what reshape tried; the result of reshape alone has its numbers", function()
    local x = mosaic.ones { 64, 64 }
    mosaic.collect()
    local before = live()
    mosaic.scope(function()
      local y = x * 2
      assert.same({ 1, 64, 64 }, y:t():unsqueeze(1).shape)
    end)
    assert.equal(before, live())
    local copy = x:t():reshape(-1)
    assert.equal(before + 4 * 64 * 64, live())
    copy:free()
    assert.equal(before, live())
  end)

  it("cannot yield in a coroutine, which is an error where it would", function()
    local lost
    local co = coroutine.create(function(...)
      return select("#", ...), mosaic.scope(function(a, _, b)
        lost = mosaic.ones { 3 }
        if b == "yield" then coroutine.yield() end
        return mosaic.full({ 2 }, a), nil, b
      end, ...)
    end)
    local ok, count, t, none, b = coroutine.resume(co, 7, nil, "end")
    assert.same({ true, 3, { 7, 7 }, "end" }, { ok, count, t:flat(), b })
    assert.is_nil(none)
    assert.is_false(pcall(lost.flat, lost))
    local refused, message = coroutine.resume(coroutine.create(function()
      mosaic.scope(function()
        lost = mosaic.ones { 3 }
        coroutine.yield()
      end)
    end))
    assert.is_false(refused)
    assert.matches("C%-call boundary: the body of scope cannot yield in a coroutine", message)
    assert.is_false(pcall(lost.flat, lost))
    assert.same({ 1, 1, 1 }, mosaic.ones({ 3 }):flat())
    assert.is_true((mosaic.ones({ 3 }, { requires_grad = true }) * 2).requires_grad)
  end)

  it("runs on virtual ranks that wait for each other inside", function()
    mosaic.virtual(2, function(comm)
      local lost
      local sum = mosaic.scope(function()
        lost = mosaic.full({ 2 }, comm.rank + 1)
        return comm:all_reduce(lost)
      end)
      assert.same({ 3, 3 }, sum:flat())
      assert.is_false(pcall(lost.flat, lost))
    end)
  end)

  it("leaves tensors of others alone", function()
    local x = mosaic.ones { 3 }
    mosaic.scope(function() return x:view(3, 1):add_(1) end)
    assert.same({ 2, 2, 2 }, x:flat())
  end)

  it("ends with an error, too, and passes it on", function()
    local lost
    local ok, message = pcall(mosaic.scope, function()
      lost = mosaic.ones { 3 }
      error("it broke", 0)
    end)
    assert.same({ false, "it broke" }, { ok, message })
    assert.is_false(pcall(function() return lost + 1 end))
    local after = mosaic.ones { 3 }
    assert.same({ 1, 1, 1 }, after:flat())
  end)

  it("has room for a walk back, whose gradients stay", function()
    local w, hidden = mosaic.ones({ 3 }):requires_grad_(), nil
    local loss = mosaic.scope(function()
      hidden = w * w
      local sum = hidden:sum()
      sum:backward()
      return sum
    end)
    assert.equal(3, loss:item())
    assert.is_false(pcall(hidden.flat, hidden))
    assert.same({ 2, 2, 2 }, w.grad:flat())
    mosaic.scope(function() (w * 3):sum():backward() end)
    assert.same({ 5, 5, 5 }, w.grad:flat())
  end)

  it("frees gradients that were forgotten before it ended", function()
    local w, stays = mosaic.ones({ 1000 }):requires_grad_(), mosaic.ones({ 1 }):requires_grad_()
    mosaic.collect()
    local before, first, last = live(), nil, nil
    mosaic.scope(function()
      mosaic.scope(function() (w * stays * 3):sum():backward() end)
      first, w.grad = w.grad, nil
      assert.same({ 3, 3 }, first:slice(1, 1, 2):flat())
      w:square():sum():backward()
      last = w.grad
    end)
    assert.is_false(pcall(first.flat, first))
    assert.equal(w.grad, last)
    assert.same({ 2, 2 }, last:slice(1, 999, 1000):flat())
    assert.same({ 3000 }, stays.grad:flat())
    assert.equal(4000 + 4, live() - before)
  end)

  it("frees what a walk back behind it would need, which is an error", function()
    local w = mosaic.ones({ 3 }):requires_grad_()
    local loss = mosaic.scope(function()
      local twice = w * 2
      return (twice * twice):sum()
    end)
    fails("backward: a tensor was freed that mul needs", function() loss:backward() end)
  end)

  it("leaves what is kept, also by one around it", function()
    local kept, lost, outside = nil, nil, mosaic.ones { 3 }
    mosaic.scope(function()
      mosaic.scope(function()
        kept, lost = mosaic.keep(mosaic.ones { 3 }), mosaic.ones { 3 }
        mosaic.keep(outside)
      end)
      assert.is_false(pcall(lost.flat, lost))
    end)
    assert.same({ 1, 1, 1 }, kept:flat())
    assert.same({ 1, 1, 1 }, mosaic.keep(outside):flat())
    fails("keep: what to keep must be a tensor", function() mosaic.keep(3) end)
  end)

  it("leaves the state of an optimizer and the rows of a KVCache", function()
    local w = mosaic.ones({ 3 }):requires_grad_()
    local other = mosaic.ones({ 3 }):requires_grad_()
    local optimizer = mosaic.optim.Adam { params = { w }, lr = 0.1 }
    local beside = mosaic.optim.Adam { params = { other }, lr = 0.1 }
    local cache, k
    for step = 1, 3 do
      mosaic.scope(function()
        w:square():sum():backward()
        optimizer:step()
        optimizer:zero_grad()
        cache = cache or mosaic.KVCache { batch = 1, kv_heads = 1, head_size = 2 }
        k = mosaic.full({ 1, 1, 1, 2 }, step)
        cache:append(k, k)
      end)
      other:square():sum():backward()
      beside:step()
      beside:zero_grad()
    end
    assert.same(other:flat(), w:flat())
    local out = cache:attend(mosaic.zeros { 1, 1, 1, 2 })
    assert.same({ 2, 2 }, out:flat()) -- the mean of 1, 2, 3
  end)

  it("leaves what an optimizer or a model has that was made or changed there", function()
    local steps = {}
    for _, in_scope in ipairs { false, true } do
      local run = in_scope and mosaic.scope or function(body) body() end
      local layer, optimizer = mosaic.nn.Linear { in_features = 3, out_features = 2 }, nil
      mosaic.no_grad(function() for _, p in ipairs(layer:parameters()) do p:fill_(0.5) end end)
      local function step()
        layer(mosaic.ones { 4, 3, dtype = "f64" }):square():sum():backward()
        optimizer:step()
        optimizer:zero_grad()
      end
      run(function()
        layer:to "f64"
        optimizer = mosaic.optim.ScheduleFreeAdamW { params = layer:parameters(), lr = 0.1 }
      end)
      step()
      run(function()
        local state = {}
        for name, t in pairs(optimizer:state_dict()) do state[name] = t:clone() end
        optimizer:load_state_dict(state)
      end)
      step()
      steps[#steps + 1] = layer.weight:flat()
    end
    assert.same(steps[1], steps[2])
  end)

  it("does not hold what the collector finds", function()
    local before
    mosaic.scope(function()
      mosaic.collect()
      before = live()
      for _ = 1, 3 do mosaic.ones { 1000 } end
      mosaic.collect()
      assert.equal(before, live())
      return mosaic.ones { 2 }
    end)
  end)

  it("is one of its rank's: others that run meanwhile keep what they make", function()
    mosaic.virtual(2, function(comm)
      local other
      if comm.rank == 0 then
        mosaic.scope(function() comm:barrier() comm:barrier() end)
      else
        comm:barrier()
        other = mosaic.ones { 3 }
        comm:barrier()
      end
      comm:barrier()
      if other then assert.same({ 1, 1, 1 }, other:flat()) end
    end)
  end)

  it("needs a body", function()
    fails("scope: the body must be a function", function() mosaic.scope(3) end)
  end)
end)
