--- Attention over a rank's blocks of R-sharding (deal.lua): query sets, each against the keys that it sees.
local attention = require "mosaic.attention"
local cat = require("mosaic.tensor.join").cat
local comms = require "mosaic.comm"
local mask_rows = require "mosaic.mask_rows"
local partial = require "mosaic.partial"
local Placement = require "mosaic.placement"
local strategy = require "mosaic.strategy"

local blocks = {}

local function part(x, axis, range) return x:narrow(axis, range.first, range.count) end

--- The plan of a block's queries and a run of the keys.
local function plan_of(plan, block, run)
  return plan:with {
    comm = comms.alone(), queries = Placement { block.pieces }, keys = Placement { run.pieces },
    mask = mask_rows.part(plan.mask, -2, block.first, block.count),
  }
end

--- Partial results out, lse of all blocks, one after the other; records nothing.
function blocks.forward(list, q, k, v, plan)
  local out, lse = {}, {}
  for i, block in ipairs(list) do
    for _, run in ipairs(block.runs) do
      local o, l = attention.forward(part(q, -2, block), part(k, -2, run), part(v, -2, run),
        plan_of(plan, block, run):block(0))
      if out[i] then attention.merge_(out[i], lse[i], o, l) else out[i], lse[i] = o, l end
    end
  end
  return cat(out, -2), cat(lse, -1)
end

--- dk, dv of this rank's keys; adds to g.dq and g.dbias (partial.lua; g is of this rank's queries).
function blocks.backward(list, q, k, v, plan, g)
  local dk, dv = k:zeros_like { dtype = g.dq.dtype }, v:zeros_like { dtype = g.dq.dtype }
  for _, block in ipairs(list) do
    local own = {
      dout = part(g.dout, -2, block), lse = part(g.lse, -1, block), delta = part(g.delta, -1, block),
      dq = part(g.dq, -2, block), dbias = g.dbias and part(g.dbias, -2, block),
    }
    for _, run in ipairs(block.count > 0 and block.runs or {}) do
      local run_dk, run_dv = partial.backward(strategy.get "local", comms.alone(), part(q, -2, block),
        part(k, -2, run), part(v, -2, run), plan_of(plan, block, run), own)
      part(dk, -2, run):add_(run_dk)
      part(dv, -2, run):add_(run_dv)
    end
  end
  return dk, dv
end

return blocks
