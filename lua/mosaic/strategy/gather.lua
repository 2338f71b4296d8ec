--- Every rank gathers all keys and values, some heads at a time; queries stay home.
--
-- One call of the kernel has all keys of a slice of heads, so nothing is merged, while the next slice is on
-- its way. Backward gathers again and sums dk and dv to their owners in f32.
-- Sent per rank: 2 (p-1) n Hkv d b forward, as much and 2 (p-1) n Hkv d gradients in f32 backward. Memory:
-- a slice of 2 n p Hkv d b / slices, and the next one where slices > 1 (the default is 1); in backward also
-- the slice's gradients and their messages; O(n) between the two passes.
local attention = require "mosaic.attention"
local cat = require("mosaic.tensor.join").cat
local check = require "mosaic.check"
local partial = require "mosaic.partial"
local Slices = require "mosaic.slices"
local strategy = require "mosaic.strategy"
local traffic = require "mosaic.traffic"
local visibility = require "mosaic.visibility"

local function new_slices(comm, q, k, v, plan)
  return Slices(comm, plan, strategy.sizes(q, k, v), plan.options.slices or 1)
end

local function forward(comm, q, k, v, plan)
  local outs, lses = {}, {}
  new_slices(comm, q, k, v, plan):each(k, v, function(slice, keys, values)
    local own = Slices.part(q, -3, slice.q)
    outs[#outs + 1], lses[#lses + 1] = attention.forward(own, keys, values, slice.plan:block(0))
  end)
  if #outs == 1 then return outs[1], lses[1] end
  return cat(outs, -3), cat(lses, -2)
end

--- What belongs to a slice's heads; dq and dbias are views.
local function part_of(g, slice)
  local dbias = g.dbias
  if dbias and dbias.ndim > 2 and dbias:size(-3) > 1 then dbias = Slices.part(dbias, -3, slice.q) end
  return {
    dout = Slices.part(g.dout, -3, slice.q), dq = Slices.part(g.dq, -3, slice.q),
    lse = Slices.part(g.lse, -2, slice.q), delta = Slices.part(g.delta, -2, slice.q), dbias = dbias,
  }
end

local function backward(comm, q, k, v, plan, g)
  local slices = new_slices(comm, q, k, v, plan)
  local dk, dv = k:zeros_like { dtype = g.dq.dtype }, v:zeros_like { dtype = g.dq.dtype }
  local arrive_k, arrive_v
  slices:each(k, v, function(slice, keys, values)
    local own = Slices.part(q, -3, slice.q)
    local slice_dk, slice_dv = partial.backward(strategy.get "local", slice.plan.comm, own, keys, values,
      slice.plan, part_of(g, slice))
    if arrive_k then
      arrive_k()
      arrive_v()
    end
    arrive_k, arrive_v = slices:keys_home(slice_dk, slice, dk), slices:keys_home(slice_dv, slice, dv)
  end)
  arrive_k()
  arrive_v()
  return dk, dv
end

return {
  options = { "slices" },
  balanced = true,

  check = function(plan, sizes)
    local slices = check.integer("gather", "slices", plan.options.slices or 1, 1)
    local most = math.max(sizes.kv_heads, 1)
    if slices > most then
      check.fail("gather: %d slices of %d key/value heads; at most %d", slices, sizes.kv_heads, most)
    end
  end,

  attend = partial.recorded("gather", forward, backward),
  backward = backward,

  volume = function(plan, sizes)
    local _, ranges = visibility.seen_keys(plan.mask, plan.queries, plan.keys)
    return (plan.comm.size - 1) * ranges[plan.comm.rank + 1][2] * traffic.key(sizes, plan.wire)
  end,
}
