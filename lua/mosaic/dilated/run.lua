--- Dilated attention, forward and backward: dense attention of the rows that each group of heads selects.
--
-- The results of the rates are merged by lse, so that a key that two rates select counts twice; backward
-- needs only the final lse and delta. Both are what walk.lua visits.
local attention = require "mosaic.attention"
local call = require "mosaic.dilated.call"
local create = require "mosaic.tensor.create"
local slices = require "mosaic.dilated.slices"
local Walk = require "mosaic.dilated.walk"

local forward, backward = {}, {}

--- (batch..., heads, rows) as queries(x) has it.
local function narrow(queries, x) return queries(x:unsqueeze(-1)):select(-1, 1) end

local function nothing() end

--- Cells are many: copies of their rows go at once, not when the collector comes by.
local function free(...)
  for i = 1, select("#", ...) do (select(i, ...)):free() end
end

--- A reader of a cell's rows along an axis of x, and whether it gives views.
local function reader(group, cell)
  return function(x, axis)
    return (slices.pick(slices.view(x, axis - 1, group.q), axis, cell.places))
  end, #cell.places == 1
end

forward.arrived, forward.leave = nothing, nothing

function forward.segments(run, rate, queries, keys, options)
  local out, lse = queries(run.out), narrow(queries, run.lse)
  if rate.alone or rate == run.schedule.rates[1] then options.out, options.lse = out, lse end
  local o, l = attention.forward(queries(run.q), keys(run.k), keys(run.v), options)
  if options.out then return end
  attention.merge_(out, lse, o, l)
  free(o, l)
end

function forward.cell(run, group, cell, keys)
  local rows, is_view = reader(group, cell)
  local q, k, v = rows(run.q, -2), keys:take(run.k, "k"), keys:take(run.v, "v")
  local options = call.cell(run.plan, group, cell, keys.rows)
  local o, l = attention.forward(q, k, v, options)
  local out, lse = rows(run.out, -2), rows(run.lse, -1)
  attention.merge_(out, lse, o, l)
  if not is_view then
    slices.put(slices.view(run.out, -3, group.q), -2, cell.places, out)
    slices.put(slices.view(run.lse, -2, group.q), -1, cell.places, lse)
    free(q, out, lse)
  end
  if not keys:is_view() then free(k, v) end
  free(o, l, options.q_positions, options.k_positions)
end

function backward.segments(run, _, queries, keys, options)
  local g = run.g
  options.into = { queries(g.dq), keys(run.dk), keys(run.dv) }
  attention.backward(queries(g.dout), narrow(queries, g.lse), narrow(queries, g.delta), queries(run.q),
    keys(run.k), keys(run.v), options)
end

function backward.arrived(run, exchange) exchange:make_gradients(run.dk.dtype) end

--- What is sent back in one step is on its way during the next one.
function backward.leave(run, exchange)
  if run.returning then run.returning() end
  run.returning = exchange:give_back(run.dk, run.dv)
end

function backward.cell(run, group, cell, keys)
  local g, options = run.g, call.cell(run.plan, group, cell, keys.rows)
  local rows, is_view = reader(group, cell)
  local dout, lse, delta, q = rows(g.dout, -2), rows(g.lse, -1), rows(g.delta, -1), rows(run.q, -2)
  local k, v, own = keys:take(run.k, "k"), keys:take(run.v, "v"), keys:is_view()
  local function zeros(x) return x:zeros_like { dtype = g.dq.dtype } end
  local dq = is_view and rows(g.dq, -2) or zeros(q)
  local dk, dv = own and keys:take(run.dk, "dk") or zeros(k), own and keys:take(run.dv, "dv") or zeros(v)
  local dbias = g.dbias and zeros(options.mask.bias) or nil
  options.into, options.bias_gradient = { dq, dk, dv, dbias }, dbias ~= nil
  attention.backward(dout, lse, delta, q, k, v, options)
  if not is_view then
    slices.add(slices.view(g.dq, -3, group.q), -2, cell.places, dq)
    free(dq, dout, lse, delta, q)
  end
  if not own then
    keys:add(run.dk, "dk", dk)
    keys:add(run.dv, "dv", dv)
    free(dk, dv, k, v)
  end
  if dbias then call.add_bias(g.dbias, group, cell, keys.rows, dbias) end
  free(options.q_positions, options.k_positions)
end

return {
  forward = function(comm, q, k, v, plan)
    local run = Walk(comm, q, k, v, plan, forward)
    run.out = q:zeros_like { dtype = q.dtype == "f64" and "f64" or "f32" }
    run.lse = create.full({ dtype = "f64", device = q.device, unpack(q.shape, 1, q.ndim - 1) }, -math.huge)
    run:go()
    return run.out, run.lse
  end,

  backward = function(comm, q, k, v, plan, g)
    local run = Walk(comm, q, k, v, plan, backward)
    run.g, run.dk, run.dv = g, k:zeros_like { dtype = g.dq.dtype }, v:zeros_like { dtype = g.dq.dtype }
    run:go()
    if run.returning then run.returning() end
    return run.dk, run.dv
  end,
}
