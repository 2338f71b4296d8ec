--- One rank's part in verify: runs a sharded plan on its shard, measures, and compares with the truth.
local attend = require "mosaic.attend"
local attention = require "mosaic.attention"
local comms = require "mosaic.comm"
local create = require "mosaic.tensor.create"
local runtime = require "mosaic.runtime"
local state = require "mosaic.state"
local tape = require "mosaic.autograd.tape"
local Tensor = require "mosaic.tensor"

local run = {}

--- options and what `others` adds to them, but for one name.
local function with(options, others, except)
  for name, value in pairs(others) do
    if name ~= except then options[name] = value end
  end
  return options
end

--- The rows of x that a rank holds.
local function rows_of(x, axis, part, rank)
  return x:index_select(axis, create.runs(part:pieces(rank), x.device))
end

run.rows_of = rows_of

--- A rank's part of a whole mask.
local function local_mask(mask, queries, keys, rank, dtype)
  local part = {}
  for name, value in pairs(mask) do part[name] = value end
  if mask.documents then
    part.documents = {
      q = rows_of(mask.documents.q, 1, queries, rank), k = rows_of(mask.documents.k, 1, keys, rank),
    }
  end
  if Tensor.is(mask.keep) then part.keep = rows_of(mask.keep, -2, queries, rank) end
  if mask.bias then part.bias = rows_of(mask.bias, -2, queries, rank):to(dtype):requires_grad_() end
  return part
end

--- This rank's leaves, mask and starting gradients.
local function shard_of(tensors, mask, queries, keys, rank, dtype)
  local function leaf(name, part)
    return rows_of(tensors[name], -2, part, rank):to(dtype):requires_grad_()
  end
  local wide = dtype == "f64" and "f64" or "f32"
  return {
    q = leaf("q", queries), k = leaf("k", keys), v = leaf("v", keys),
    mask = local_mask(mask, queries, keys, rank, dtype),
    dout = rows_of(tensors.dout, -2, queries, rank):to(wide), dlse = rows_of(tensors.dlse, -1, queries, rank),
  }
end

--- Forward and backward; { out, lse, dq, dk, dv, dbias }.
local function compute(x, options)
  local out, lse = attend(x.q, x.k, x.v, options)
  tape.backward({ out, lse }, { x.dout, lse and x.dlse })
  return {
    out = out:detach(), lse = lse and lse:detach(), dq = x.q.grad, dk = x.k.grad, dv = x.v.grad,
    dbias = x.mask.bias and x.mask.bias.grad,
  }
end

local function bytes_of(x) return x:numel() * x:element_size() end

--- What one forward pass costs this rank: bytes sent and predicted, most memory held (q, k and v included),
-- pairs of query and key that it worked on.
local function measure_forward(comm, x, options)
  tape.no_grad(attend, x.q, x.k, x.v, options) -- communicators that are made on first use, caches
  comm:barrier() -- what other ranks still do to free their first pass does not count
  runtime.collect()
  runtime.reset_peak_memory()
  local rank, seen = state.current, {}
  local sent, worked = comm:bytes_sent() - rank.agreed_bytes, attention.work().forward
  local held = runtime.memory().rank_live_bytes - bytes_of(x.q) - bytes_of(x.k) - bytes_of(x.v)
  tape.no_grad(state.with, "plan", seen, "verify", attend, x.q, x.k, x.v, options)
  return {
    bytes = comm:bytes_sent() - rank.agreed_bytes - sent,
    predicted = seen.body.volume and seen.body.volume(seen.plan, seen.sizes),
    room = seen.body.memory and math.ceil(seen.body.memory(seen.plan, seen.sizes)),
    peak = runtime.memory().rank_peak_bytes - held,
    work = attention.work().forward - worked,
  }
end

--- The whole answer on one rank: the truth that shards are compared with.
function run.truth(job, dtype)
  local function leaf(t) return t:to(dtype):detach():requires_grad_() end
  local mask, tensors = {}, job.tensors
  for name, value in pairs(job.mask) do mask[name] = value end
  if mask.bias then mask.bias = leaf(mask.bias) end
  local x = {
    q = leaf(tensors.q), k = leaf(tensors.k), v = leaf(tensors.v), mask = mask,
    dout = tensors.dout:to(dtype == "f64" and "f64" or "f32"), dlse = tensors.dlse,
  }
  local options = { strategy = job.truth_strategy, comm = comms.alone(), mask = mask, layout = "contiguous" }
  return compute(x, with(options, job.options, "indices"))
end

--- Largest difference of two tensors; infinite where one has no number and the other has.
function run.distance(got, want)
  got, want = got:to "f64", want:to "f64"
  local worst = (got - want):abs():masked_fill(got:eq(want), 0):max():item() -- infinities may be equal
  return worst == worst and worst or math.huge
end

local KEYS = { dk = true, dv = true }

--- Runs `job` on this rank in `dtype`; returns its largest differences to the truth, by name, over all
-- ranks, and the costs { bytes, predicted (-1: none), peak, work, room (-1: no bound) } of every rank.
--   job = { tensors, mask, strategy, options, queries, keys, truth }
function run.rank(comm, job, dtype)
  local x = shard_of(job.tensors, job.mask, job.queries, job.keys, comm.rank, dtype)
  local options = { strategy = job.strategy, comm = comm, mask = x.mask, layout = job.queries.layout }
  local costs = measure_forward(comm, x, with(options, job.options))
  local results, errors, list = compute(x, options), {}, {}
  for name in pairs(job.truth) do list[#list + 1] = name end
  table.sort(list)
  for _, name in ipairs(list) do
    local part = KEYS[name] and job.keys or job.queries
    local want = rows_of(job.truth[name], name == "lse" and -1 or -2, part, comm.rank)
    local own = want:numel() > 0 and run.distance(results[name], want) or 0
    errors[name] = comm:total(own, "max")
  end
  local ranks = {}
  local own = { costs.bytes, costs.predicted or -1, costs.peak, costs.work, costs.room or -1 }
  for i, row in ipairs(comm:all_gather_list(own)) do
    ranks[i] = { bytes = row[1], predicted = row[2], peak = row[3], work = row[4], room = row[5] }
  end
  return errors, ranks
end

return run
