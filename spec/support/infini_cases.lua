--- Cases of Infini-attention: inputs, their truth, and runs over ranks and in pieces.
local close = require "spec.support.close"
local fill = require "spec.support.fill"
local infini = require "spec.support.infini"
local mosaic = require "mosaic"

local cases = {}

local NAMES = { "out", "dq", "dk", "dv", "dbeta" }

--- q, k, v, beta, dout of one sequence.
function cases.new(rows, segment, update, options)
  options = options or {}
  local heads, kv_heads, d, dtype = options.heads or 2, options.kv_heads or 1, options.d or 3, options.dtype
  local function part(count, seed) return fill({ count, rows, d }, { seed = seed, dtype = dtype }) end
  return {
    q = part(heads, 1), k = part(kv_heads, 2), v = part(kv_heads, 3), dout = part(heads, 4),
    beta = fill({ heads }, { seed = 5, dtype = dtype }), segment = segment, update = update,
    slopes = options.slopes,
  }
end

function cases.truth(case)
  local truth = infini(case)
  local shapes = { out = case.q, dq = case.q, dk = case.k, dv = case.v, dbeta = case.beta }
  for name, like in pairs(shapes) do
    truth[name] = mosaic.tensor(truth[name], { dtype = "f64" }):reshape(like.shape)
  end
  return truth
end

--- The rank's rows when the ranks hold counts[1], counts[2] ... of them.
function cases.cut(x, counts, rank)
  local first = 1
  for i = 1, rank do first = first + counts[i] end
  return x:narrow(-2, first, counts[rank + 1])
end

function cases.even(rows, ranks)
  local counts = {}
  for r = 1, ranks do counts[r] = math.floor(r * rows / ranks) - math.floor((r - 1) * rows / ranks) end
  return counts
end

function cases.options(case, more)
  local options = { segment = case.segment, update = case.update, beta = case.beta, alibi = case.slopes }
  for name, value in pairs(more) do options[name] = value end
  return options
end

--- Everything that must be right, whole, as rank 0 sees it.
function cases.run(case, counts)
  local results = mosaic.virtual(#counts, function(comm)
    local function own(x) return cases.cut(x, counts, comm.rank):clone():requires_grad_() end
    local q, k, v, beta = own(case.q), own(case.k), own(case.v), case.beta:clone():requires_grad_()
    local out = mosaic.infini_attention(q, k, v, cases.options(case, { comm = comm, beta = beta }))
    out:backward(cases.cut(case.dout, counts, comm.rank))
    local whole = { dbeta = comm:all_reduce(beta.grad) }
    for name, part in pairs { out = out:detach(), dq = q.grad, dk = k.grad, dv = v.grad } do
      whole[name] = comm:all_gather(part, -2, counts)
    end
    return whole
  end)
  return results[1]
end

function cases.expect_exact(case, counts, truth)
  local got = cases.run(case, counts)
  for _, name in ipairs(NAMES) do close(got[name], truth[name]) end
end

--- The whole sequence in pieces, one after the other, each sharded over the ranks of comm: the result.
function cases.stream(case, pieces, comm, options)
  local parts, state, first = {}, {}, 1
  for i, rows in ipairs(pieces) do
    local counts = cases.even(rows, comm.size)
    local function own(x) return cases.cut(x:narrow(-2, first, rows), counts, comm.rank) end
    local more = { comm = comm, state = state }
    for name, value in pairs(options or {}) do more[name] = value end
    parts[i], state = mosaic.infini_attention(own(case.q), own(case.k), own(case.v),
      cases.options(case, more))
    parts[i] = comm:all_gather(parts[i], -2, counts)
    first = first + rows
  end
  return mosaic.cat(parts, -2), state
end

return cases
