--- Infini-attention: the result and all gradients, in one process and cut over virtual ranks.
-- f64: 1e-10 of each tensor's largest value. f32: twice the error of a plain f32 implementation of the
-- same case, plus 4 units in the last place of the largest value.
local infini = require "spec.support.infini"
local measure = require "reference.measure"
local mosaic = require "mosaic"
local places = require "reference.places"

local INPUTS, RESULTS = { "q", "k", "v", "beta", "dout" }, { "out", "dq", "dk", "dv", "dbeta" }

local function run(t, case, comm)
  comm = comm or mosaic.comm.alone()
  local shard = { axis = -2, comm = comm, layout = "contiguous" }
  local function leaf(x) return mosaic.shard(x, shard):detach():requires_grad_() end
  local q, k, v, beta = leaf(t.q), leaf(t.k), leaf(t.v), t.beta:detach():requires_grad_()
  local out = mosaic.infini_attention(q, k, v,
    { segment = case.segment, update = case.update, beta = beta, comm = comm })
  out:backward(mosaic.shard(t.dout, shard))
  local results = { out = out:detach(), dq = q.grad, dk = k.grad, dv = v.grad }
  for name, x in pairs(results) do results[name] = mosaic.unshard(x, shard) end
  results.dbeta = comm:all_reduce(beta.grad)
  return results
end

--- What the file says, or its name: a case called delta is one of the delta update.
local function describe(case)
  local segment = case.get "segment" or case.shared "segment"
  return {
    segment = case.parameters.segment or segment and segment:item() or error("no segment is given", 0),
    update = case.parameters.update or case.name,
  }
end

return function(case)
  local what, t = describe(case), {}
  for _, name in ipairs(INPUTS) do t[name], what[name] = case.get(name), case.get(name) end
  what.dtype = "f32"
  local plain, result = infini(what), {}
  for _, dtype in ipairs { "f64", "f32" } do
    local worst, inputs = measure.new(), {}
    for name, x in pairs(t) do inputs[name] = x:to(dtype) end
    places({ "contiguous" }, function(comm) return run(inputs, what, comm) end, function(place, got)
      for _, name in ipairs(RESULTS) do
        local expected = case.get(name)
        local error = measure.distance(plain[name], expected:flat())
        worst:add(name .. ", " .. place:gsub("ring", "ranks"), got[name], expected, function(scale)
          return dtype == "f64" and 1e-10 * scale or 2 * error + 4 * measure.ulp(scale)
        end)
      end
    end)
    result[dtype] = worst
  end
  return result
end
