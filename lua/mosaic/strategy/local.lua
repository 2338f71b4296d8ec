--- Every key and value is already here: no messages.
local attention = require "mosaic.attention"
local check = require "mosaic.check"

--- The share of this rank's keys, from the final lse and delta (partial.lua).
local function backward(comm, q, k, v, plan, g)
  local options = plan:block(comm.rank)
  local function zeros(t) return t:zeros_like { dtype = g.dq.dtype } end
  options.bias_gradient = g.dbias and true or nil
  if g.places then
    options.places, g.places = g.places, nil
  else
    options.into = { g.dq, zeros(k), zeros(v), g.dbias and zeros(options.mask.bias) or nil }
  end
  local _, dk, dv, dbias = attention.backward(g.dout, g.lse, g.delta, q, k, v, options)
  if dbias then plan:add_bias_gradient(g.dbias, comm.rank, dbias) end
  return dk, dv
end

return {
  check = function(plan)
    if plan.comm.size > 1 then
      check.fail("local: the keys are spread over %d ranks, and this strategy sees one rank's; 'gather' and "
        .. "'ring' see all", plan.comm.size)
    end
  end,

  attend = function(comm, q, k, v, plan) return attention.sdpa(q, k, v, plan:block(comm.rank)) end,
  backward = backward,
  writes = true,
  volume = function() return 0 end,
  verify = { ranks = 1 },
}
