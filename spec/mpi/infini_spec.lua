local close = require "spec.support.close"
local fill = require "spec.support.fill"
local mosaic = require "mosaic"

describe("infini_attention on MPI ranks", function()
  local comm = mosaic.comm.world()
  local shard = { axis = -2, comm = comm, layout = "contiguous" }

  for _, update in ipairs { "linear", "delta" } do
    it("gives out, gradients and state of one rank: " .. update, function()
      local function operands(cut)
        local list = {}
        for i = 1, 3 do list[i] = cut(fill({ 2, 23, 4 }, { seed = i })):requires_grad_() end
        list[4] = fill({ 2 }, { seed = 4, requires_grad = true })
        return unpack(list)
      end
      local function run(on, cut)
        local q, k, v, beta = operands(cut)
        local out, state = mosaic.infini_attention(q, k, v,
          { segment = 5, update = update, beta = beta, comm = on, state = {} })
        out:backward(cut(fill({ 2, 23, 4 }, { seed = 5 })))
        return { out = out:detach(), dq = q.grad, dk = k.grad, dv = v.grad }, state, beta.grad
      end
      local expected, expected_state, dbeta = run(mosaic.comm.alone(), function(x) return x:clone() end)
      local got, state, own_dbeta = run(comm, function(x) return mosaic.shard(x, shard):clone() end)
      for name, part in pairs(expected) do close(got[name], mosaic.shard(part, shard)) end
      for _, name in ipairs { "memory", "keys", "values" } do close(state[name], expected_state[name]) end
      close(comm:all_reduce(own_dbeta), dbeta)
    end)
  end
end)
