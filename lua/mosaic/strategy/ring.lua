--- Keys and values travel around the ring; queries stay home.
--
-- At step t a rank attends to the block of rank (r - t) mod p while the next block is on its way.
-- Backward sends the blocks around once more, each followed by its gradient, which arrives home
-- after p steps. Memory O(n); sent per rank: 2 (p-1) blocks forward, as many and 2 p gradients in
-- f32 backward. (Liu et al. 2023, "Ring attention with blockwise transformers".)
local attention = require "mosaic.attention"
local Function = require "mosaic.autograd.function"

local BIAS = 6 -- its place among the arguments of the Function below

--- Shape of owner's block: `like` with as many rows as owner's needed keys.
local function block_shape(plan, like, owner)
  local shape = like.shape
  shape[#shape - 1] = plan:needed(owner)
  return shape
end

--- The ring seen from one rank: who holds which block at which step.
local function ring_of(comm)
  return {
    right = (comm.rank + 1) % comm.size,
    left = (comm.rank - 1) % comm.size,
    owner = function(step) return (comm.rank - step) % comm.size end,
  }
end

--- Options of attention for the block that is here at `step`.
local function options_at(plan, ring, step)
  local owner = ring.owner(step)
  return plan:block(owner, plan:needed(owner))
end

--- Starts sending `block` on; the request's wait returns what the left neighbour held.
local function pass(comm, ring, block, shape)
  return comm:sendrecv(block, ring.right, ring.left, shape, { async = true })
end

local function forward(ctx, comm, plan, q, k, v)
  local ring, out, lse = ring_of(comm), nil, nil
  k, v = plan:trim(comm.rank, k):contiguous(), plan:trim(comm.rank, v):contiguous()
  ctx:save("k", k)
  ctx:save("v", v)
  for step = 0, comm.size - 1 do
    local next_k, next_v
    if step < comm.size - 1 then
      local shape = block_shape(plan, k, ring.owner(step + 1))
      next_k, next_v = pass(comm, ring, k, shape), pass(comm, ring, v, shape)
    end
    local block_out, block_lse = attention.forward(q, k, v, options_at(plan, ring, step))
    if out then attention.merge_(out, lse, block_out, block_lse) else out, lse = block_out, block_lse end
    if next_k then k, v = next_k:wait(), next_v:wait() end
  end
  ctx.comm, ctx.plan = comm, plan
  ctx:save("q", q)
  ctx:save("out", out)
  ctx:save("lse", lse)
  return out, lse
end

--- Adds this rank's share of a block's gradients to dq; returns those of the block's keys, values
-- and bias (nil unless wanted).
local function block_backward(ctx, dout, delta, dq, k, v, options)
  local function zeros(t) return t:zeros_like { dtype = dq.dtype } end
  options.bias_gradient = ctx.needs[BIAS]
  options.into = { dq, zeros(k), zeros(v), options.bias_gradient and zeros(options.mask.bias) or nil }
  return select(2, attention.backward(dout, ctx.lse, delta, ctx.q, k, v, options))
end

local function backward(ctx, dout, dlse)
  local comm, plan, ring = ctx.comm, ctx.plan, ring_of(ctx.comm)
  dout = dout or ctx.out:zeros_like()
  local delta, dq = attention.delta(dout, ctx.out, dlse), ctx.out:zeros_like()
  local k, v, home_dk, home_dv, dbias = ctx.k, ctx.v, nil, nil, {}
  for step = 0, comm.size - 1 do
    local next_k, next_v
    local shape = block_shape(plan, k, ring.owner(step + 1))
    if step < comm.size - 1 then
      next_k, next_v = pass(comm, ring, k, shape), pass(comm, ring, v, shape)
    end
    local dk, dv, block_dbias = block_backward(ctx, dout, delta, dq, k, v, options_at(plan, ring, step))
    dbias[ring.owner(step) + 1] = block_dbias
    if home_dk then
      dk:add_(home_dk:wait())
      dv:add_(home_dv:wait())
    end
    home_dk, home_dv = pass(comm, ring, dk, shape), pass(comm, ring, dv, shape)
    if next_k then k, v = next_k:wait(), next_v:wait() end
  end
  return nil, nil, dq, plan:untrim(home_dk:wait()), plan:untrim(home_dv:wait()),
    ctx.needs[BIAS] and plan:join_bias(dbias)
end

local ring = Function("ring", { forward = forward, backward = backward, collective = true })

return function(comm, q, k, v, plan)
  return ring(comm, plan, q, k, v, plan.mask.bias)
end
