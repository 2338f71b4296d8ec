--- One strategy's share of a result: forward unrecorded, backward from the final lse and delta alone.
--
-- A strategy that sees some of the keys gives (out, lse). For backward it needs no more than
--   g = { dout, lse, delta: of the final result; dq, dbias: sums to add to, in f32 or f64 }
-- (dbias only where the mask's bias wants a gradient; it has the columns of all keys). The first share may be
-- written instead: g.places = { dq, dk, dv }, with nothing in dq yet. It takes them; later ones add.
local attention = require "mosaic.attention"
local Function = require "mosaic.autograd.function"
local strategy = require "mosaic.strategy"
local tape = require "mosaic.autograd.tape"

local partial = {}

local BIAS = 6 -- its place among the arguments of the Function in `recorded`

--- out, lse of the keys that `plan` has; inner: a resolved strategy.
function partial.forward(inner, comm, q, k, v, plan)
  return strategy.run(inner, comm, q, k, v, plan)
end

--- What reaches a share (out, lse) of the result: its weight is exp(lse - final lse).
local function share_of(g, out, lse)
  local seen = lse:gt(-math.huge)
  local weight = (lse - g.lse):masked_fill(seen:logical_not(), -math.huge):exp()
  local along = (g.dout * out):sum(-1):to "f64"
  local dout = g.dout * weight:to(out.dtype):unsqueeze(-1)
  return dout, weight * (along - g.delta:to "f64")
end

--- Computes the share again, recorded, and walks back.
local function by_computing_again(inner, comm, q, k, v, plan, g)
  local function leaf(t) return t:detach():requires_grad_() end
  q, k, v = leaf(q), leaf(k), leaf(v)
  local bias = g.dbias and leaf(plan.mask.bias)
  if bias then
    local mask = {}
    for name, value in pairs(plan.mask) do mask[name] = value end
    mask.bias = bias
    plan = plan:with { mask = mask }
  end
  local out, lse = tape.with_recording(true, partial.forward, inner, comm, q, k, v, plan)
  local dout, dlse = share_of(g, out:detach(), lse:detach())
  tape.backward({ out, lse }, { dout, dlse })
  if q.grad then g.dq:add_(q.grad) end
  if bias and bias.grad then g.dbias:add_(bias.grad) end
  local function wide(x) return (x.grad or x:zeros_like()):to(g.dq.dtype) end
  return wide(k), wide(v)
end

--- From here on shares add to g.dq.
function partial.clear(g)
  g.dq:zero_()
  g.places = nil
end

--- dk, dv of this share; adds to g.dq and g.dbias.
function partial.backward(inner, comm, q, k, v, plan, g)
  local own = inner.body.backward
  if g.places and not inner.body.writes then partial.clear(g) end
  if not own then return by_computing_again(inner, comm, q, k, v, plan, g) end
  return own(comm, q, k, v, plan:with { comm = comm, options = inner.options }, g)
end

--- The same sums for queries that moved: `moved` has their dout, lse and delta already. dbias only where
-- their mask's bias, moved with them, has an edge: where any of its ranks wants the gradient.
function partial.moved_sums(moved, queries, mask, dtype)
  moved.dq = queries:zeros_like { dtype = dtype }
  moved.dbias = mask.bias and mask.bias.edge and mask.bias:zeros_like { dtype = dtype } or nil
  return moved
end

--- The sums that backward of a whole result starts from; places: where the first share may be written, as far
-- as it matters where.
function partial.gradients(q, out, lse, bias, dout, dlse, places)
  dout = dout or out:zeros_like()
  if places then places[1] = places[1] or q:empty_like { dtype = out.dtype } end
  return {
    dout = dout, lse = lse, delta = attention.delta(dout, out, dlse), places = places,
    dq = places and places[1] or q:zeros_like { dtype = out.dtype },
    dbias = bias and bias:zeros_like { dtype = out.dtype },
  }
end

--- attend of a strategy with a backward of its own: one step of the tape that keeps q, k, v, out and lse,
-- whatever forward(comm, q, k, v, plan) gathers on the way.
function partial.recorded(name, forward, backward)
  local step = Function(name, {
    collective = true,
    forward = function(ctx, comm, plan, q, k, v)
      local out, lse = forward(comm, q, k, v, plan)
      ctx.comm, ctx.plan = comm, plan
      for label, t in pairs { q = q, k = k, v = v, out = out, lse = lse } do ctx:save(label, t) end
      return out, lse
    end,
    backward = function(ctx, dout, dlse)
      local bias = ctx.needs[BIAS] and ctx.plan.mask.bias or nil
      local g = partial.gradients(ctx.q, ctx.out, ctx.lse, bias, dout, dlse)
      local dk, dv = backward(ctx.comm, ctx.q, ctx.k, ctx.v, ctx.plan, g)
      return nil, nil, g.dq, dk, dv, g.dbias
    end,
  })
  return function(comm, q, k, v, plan) return step(comm, plan, q, k, v, plan.mask.bias) end
end

return partial
