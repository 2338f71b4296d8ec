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
    assert.matches("attempt to yield across C%-call boundary", message)
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

  it("records nothing, and recording goes on behind it", function()
    local w = mosaic.ones({ 3 }):requires_grad_()
    local constant = mosaic.scope(function() return w * 2 end)
    assert.is_false(constant.requires_grad)
    w:mul(constant):sum():backward()
    assert.same({ 2, 2, 2 }, w.grad:flat())
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
