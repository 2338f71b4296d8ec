--- Three sharding strategies that this script makes for itself, checked against attention on one rank:
--   mosaic-lua --virtual 4 examples/own_strategy.lua
--
-- A strategy is a function of this rank's q, k, v and a plan that says which rows every rank holds; it
-- returns out and lse. What it is made of is differentiable, so there is no backward to write:
-- mosaic.sdpa(q, k, v, plan:block(owner)) attends to owner's keys, mosaic.merge joins two results,
-- mosaic.move takes rows to where they are wanted, mosaic.move_mask a mask's rows along with its queries,
-- mosaic.rotate sends keys and values round the ranks.
package.path = (arg[0]:match "^(.*/)[^/]*$" or "") .. "?.lua;" .. package.path
local mosaic = require "mosaic"
local fail = require "support.fail"
local options = require "support.options"

local define, Placement = mosaic.strategy.define, mosaic.placement

--- 1. The ring of the textbooks: attend to the block that is here, join, pass it on. Its tape keeps every
-- block, where mosaic.rotate keeps none.
define("textbook", function(comm, q, k, v, plan)
  local right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
  local out, lse = mosaic.sdpa(q, k, v, plan:block(comm.rank))
  for step = 1, comm.size - 1 do
    local owner, shape = (comm.rank - step) % comm.size, k.shape
    shape[#shape - 1] = plan.keys:count(owner)
    k, v = comm:sendrecv(k, right, left, shape), comm:sendrecv(v, right, left, shape)
    out, lse = mosaic.merge(out, lse, mosaic.sdpa(q, k, v, plan:block(owner)))
  end
  return out, lse
end)

--- 2. Halo: under a window a query reaches only the rows beside it. Every rank fetches just those that its
-- queries reach, from whoever has them, in one exchange.
define("halo", {
  check = function(plan)
    if not plan.mask.window then mosaic.check.fail "halo: it lives off mask.window; use ring without one" end
  end,
  attend = function(comm, q, k, v, plan)
    local window, exists, lists = plan.mask.window, {}, {}
    for rank = 0, comm.size - 1 do
      for _, row in ipairs(plan.keys:positions(rank)) do exists[row] = true end
    end
    for rank = 0, comm.size - 1 do
      local queries, wanted, last = plan.queries:positions(rank), {}, 0
      table.sort(queries)
      for _, query in ipairs(queries) do
        for row = math.max(last + 1, query - window[1]), query + window[2] do
          if exists[row] then wanted[#wanted + 1] = { row, 1, 1 } end
          last = row
        end
      end
      lists[rank + 1] = wanted
    end
    local keys = Placement(lists)
    k, v = mosaic.move(comm, k, -2, plan.keys, keys), mosaic.move(comm, v, -2, plan.keys, keys)
    return mosaic.sdpa(q, k, v, plan:with { keys = keys }:block(comm.rank))
  end,
})

--- 3. Mirror ring, which no published library has: a causal ring on contiguous shards leaves the first ranks
-- idle, and the usual cure is to deal the user's rows in zigzag. Here the rows stay as they are: ranks r and
-- p-1-r swap their second halves, the ring runs over these halves, where every rank has an early and a late
-- one and so the same work at every step, and the swapped results go home.
local function mirrored(placement)
  local lists = {}
  for rank = 0, placement.ranks - 1 do
    local other = placement.ranks - 1 - rank
    local kept, left = math.ceil(placement:count(rank) / 2), math.ceil(placement:count(other) / 2)
    lists[rank + 1] = placement:cut(rank, 1, kept)
    for _, piece in ipairs(placement:cut(other, left + 1, placement:count(other) - left)) do
      table.insert(lists[rank + 1], piece)
    end
  end
  return Placement(lists)
end

define("mirror", function(comm, q, k, v, plan)
  local queries, keys = mirrored(plan.queries), mirrored(plan.keys)
  local function swap(x, axis, have, want) return mosaic.move(comm, x, axis, have, want) end
  local mask = mosaic.move_mask(plan.mask, plan.queries:count(comm.rank), function(x)
    return swap(x, -2, plan.queries, queries)
  end)
  local out, lse = mosaic.rotate(comm, swap(q, -2, plan.queries, queries), swap(k, -2, plan.keys, keys),
    swap(v, -2, plan.keys, keys), plan:with { queries = queries, keys = keys, mask = mask })
  return swap(out, -2, queries, plan.queries), swap(lse, -1, queries, plan.queries)
end)

--- The largest error of any rank, in units of the largest true value.
local function error_of(comm, result, truth)
  local off = truth:numel() > 0 and ((result - truth):abs():max() / truth:abs():max()):item() or 0
  return comm:all_reduce(mosaic.tensor({ off }, { dtype = "f64" }), { op = "max" }):item()
end

--- Bytes that all ranks sent since one had sent `before`, and the work of the busiest rank in units of the
-- mean one.
local function cost(comm, before)
  local sent = comm:bytes_sent() - before
  local work = mosaic.tensor({ mosaic.attention.work().forward }, { dtype = "f64" })
  local most, mean = comm:all_reduce(work, { op = "max" }), comm:all_reduce(work, { op = "mean" })
  return mosaic.total(sent, { comm = comm }), (most / mean):item()
end

--- q, k, v and the result's gradient, whole and the same on every rank.
local function operands(o)
  local list, generator = {}, mosaic.generator(1)
  for i = 1, 4 do
    list[i] = mosaic.randn { 1, o.heads, o.rows, o.head_size, dtype = "f64", generator = generator }
  end
  return list
end

--- Runs attend(q, k, v) on leaves made by `share`, and back; returns out and the leaves' gradients.
local function run(attend, whole, share)
  local leaves = {}
  for i = 1, 3 do leaves[i] = share(whole[i]):clone():requires_grad_() end
  local out = attend(unpack(leaves)):backward(share(whole[4]))
  return { out:detach(), leaves[1].grad, leaves[2].grad, leaves[3].grad }
end

--- Runs one strategy and one rank on the same numbers; prints what differs and what it costs.
local function compare(comm, name, mask, o)
  local whole, sent, busiest = operands(o), nil, nil
  local function share(x) return mosaic.shard(x, { axis = 3, comm = comm, layout = "contiguous" }) end
  local truth = run(function(q, k, v) return (mosaic.sdpa(q, k, v, { mask = mask })) end, whole,
    function(x) return x end)
  local results = run(function(q, k, v)
    local before = comm:bytes_sent()
    mosaic.attention.reset_work()
    local out = mosaic.attend(q, k, v, { strategy = name, comm = comm, layout = "contiguous", mask = mask })
    sent, busiest = cost(comm, before)
    return out
  end, whole, share)
  local errors = {}
  for i, result in ipairs(results) do errors[i] = error_of(comm, result, share(truth[i])) end
  local worst = math.max(unpack(errors))
  if comm.rank == 0 then
    local kind = mask.window and "window" or mask.causal and "causal" or "no mask"
    io.write(("%-9s %-8s error of out %.0e, dq %.0e, dk %.0e, dv %.0e"):format(name, kind, unpack(errors)),
      ("; %7d bytes sent; work max/mean %.2f\n"):format(sent, busiest))
  end
  if not (worst <= 1e-12) then fail("%s is wrong by %g", name, worst) end
end

local o = options.parse("examples/own_strategy.lua", "Checks three strategies of its own against one rank.", {
  { "rows", 257, "rows of the sequence", integer = 1 }, { "heads", 2, "attention heads", integer = 1 },
  { "head-size", 8, "of each", integer = 1 },
  { "window", 20, "rows that a query sees before it", integer = 0 },
}, arg)

if o then
  local causal, window = { causal = true }, { causal = true, window = { o.window, 0 } }
  for _, case in ipairs {
    { "ring", causal }, { "textbook", causal }, { "mirror", causal }, { "mirror", {} }, { "ring", window },
    { "halo", window },
  } do
    compare(mosaic.comm.world(), case[1], case[2], o)
  end
end
