--- Attention over a sharded sequence: checks what the ranks bring, then runs a strategy.
--
--   local out, lse = mosaic.attend(q, k, v, { strategy = "ring", comm = comm, mask = { causal = true } })
--
-- q (..., heads, n, d) holds this rank's queries, k and v (..., kv heads, m, d) its keys and values;
-- the layouts say which global rows these are. Returns this rank's rows of the result,
-- out (..., heads, n, d) and lse (..., heads, n), equal to attention on one rank.
local check = require "mosaic.check"
local comms = require "mosaic.comm"
local context = require "mosaic.context"
local partition = require "mosaic.partition"
local Plan = require "mosaic.strategy.plan"
local strategy = require "mosaic.strategy"

local OPTIONS = { "strategy", "comm", "layout", "indices", "mask", "scale" }
local MASKS = { "causal", "window", "prefix", "documents", "alibi", "keep", "bias" }

--- The shape without its row axis, as text: what ranks must agree on.
local function frame(t)
  local shape = t.shape
  shape[#shape - 1] = "n"
  return ("%s [%s]"):format(t.dtype, table.concat(shape, ","))
end

--- The entries of the mask as text; only what all ranks share takes part.
local function mask_text(mask)
  local parts = {}
  for _, name in ipairs(MASKS) do
    local value = mask[name]
    if value ~= nil then
      parts[#parts + 1] = type(value) == "table" and name or name .. "=" .. tostring(value)
    end
  end
  return table.concat(parts, " ")
end

--- Fails on every rank unless all bring the same kind of problem; returns the row counts.
local function agree(comm, q, k, v, options)
  local ranks = comm:agree("attend", {
    q = frame(q), k = frame(k), v = frame(v),
    mask = mask_text(options.mask or {}), strategy = tostring(options.strategy),
    layout = options.layout,
  }, { queries = q:size(-2), keys = k:size(-2), values = v:size(-2) })
  return ranks
end

--- The partition that gives every rank the rows that it brought.
local function partition_of(comm, counts, layout, indices, what)
  local rows = 0
  for rank = 1, comm.size do rows = rows + counts[rank] end
  local part = partition.new {
    layout = layout, rows = rows, ranks = comm.size,
    counts = layout == "contiguous" and counts or nil, indices = indices,
  }
  for rank = 0, comm.size - 1 do
    if part:count(rank) ~= counts[rank + 1] then
      check.fail("attend: rank %d brings %d %s, but layout '%s' of %d rows on %d ranks gives it %d", rank,
        counts[rank + 1], what, layout, rows, comm.size, part:count(rank))
    end
  end
  return part
end

local function column(ranks, name)
  local list = {}
  for i, values in ipairs(ranks) do list[i] = values[name] end
  return list
end

--- The local strategy never sends, so it needs no one; the others default to the ranks of mosaic.init.
local function communicator_for(options)
  if options.strategy == "local" then return comms.alone() end
  return options.comm or context.current():comm "sp"
end

return function(q, k, v, options)
  options = check.options("attend", options or {}, OPTIONS)
  check.options("attend: mask", options.mask or {}, MASKS)
  local comm = communicator_for(options)
  local run = strategy.get(options.strategy or (comm.size == 1 and "local" or "ring"))
  local layout = options.layout or options.indices and "indices" or context.current().layout
  local ranks = agree(comm, q, k, v, { mask = options.mask, strategy = options.strategy, layout = layout })
  local indices = options.indices or {}
  return run(comm, q, k, v, Plan {
    comm = comm, mask = options.mask, scale = options.scale,
    queries = partition_of(comm, column(ranks, "queries"), layout, indices.q or options.indices, "queries"),
    keys = partition_of(comm, column(ranks, "keys"), layout, indices.k or options.indices, "keys"),
  })
end
