--- Attention over a sharded sequence: checks what the ranks bring, then runs a strategy.
--
--   local out, lse = mosaic.attend(q, k, v, { strategy = "ring", comm = comm, mask = { causal = true } })
--
-- q (..., heads, n, d) holds this rank's queries, k and v (..., kv heads, m, d) its keys and values;
-- the layout says which global rows these are. Returns this rank's rows of the result,
-- out (..., heads, n, d) and lse (..., heads, n), equal to attention on one rank.
-- options: strategy (a name or a function; default "ring", "local" on one rank), comm, layout and indices
-- (a list per rank, or { q = lists, k = lists }; defaults: mosaic.init's), scale, and mask as for
-- mosaic.sdpa: documents for this rank's rows, keep and bias for this rank's queries and all keys.
local check = require "mosaic.check"
local comms = require "mosaic.comm"
local context = require "mosaic.context"
local masks = require "mosaic.mask"
local partition = require "mosaic.partition"
local Plan = require "mosaic.strategy.plan"
local state = require "mosaic.state"
local strategy = require "mosaic.strategy"
local Tensor = require "mosaic.tensor"

local OPTIONS = { "strategy", "comm", "layout", "indices", "mask", "scale" }

--- What this rank brings, checked as far as it can tell alone.
local function prepare(q, k, v, options)
  for name, t in pairs { q = q or false, k = k or false, v = v or false } do
    if not Tensor.is(t) or t.ndim < 2 then
      check.fail("attend: %s must be a tensor (..., heads, rows, d), got %s", name,
        Tensor.is(t) and t:describe() or check.show(t))
    end
  end
  local mask = masks.normal("attend", options.mask)
  masks.check_rows("attend", mask, q:size(-2), k:size(-2))
  local scale = options.scale
  if scale ~= nil and not (type(scale) == "number" and math.abs(scale) < math.huge) then
    check.fail("attend: scale must be a finite number, got %s", check.show(scale))
  end
  strategy.get(options.strategy or "local")
  return mask
end

--- The shape without its row axis, as text: what ranks must agree on.
local function frame(t)
  local shape = t.shape
  shape[#shape - 1] = "n"
  return ("%s [%s]"):format(t.dtype, table.concat(shape, ","))
end

--- A number that differs for different index lists (by all but chance).
local function fingerprint(indices)
  local hash = 0
  for _, list in ipairs(indices or {}) do
    hash = (hash * 31 + #list) % 2147483647
    for _, row in ipairs(list) do hash = (hash * 31 + row) % 2147483647 end
  end
  return hash
end

--- What all ranks must have in common, and what each has for itself.
local function facts(q, k, v, mask, options)
  local name = options.strategy
  return {
    error = "none", q = frame(q), k = frame(k), v = frame(v), mask = masks.describe(mask),
    layout = options.layout, scale = options.scale or "default",
    strategy = type(name) == "function" and "function" or name,
    indices = fingerprint(options.q_indices) + fingerprint(options.k_indices),
    recording = state.current.recording,
  }, { queries = q:size(-2), keys = k:size(-2) }
end

--- Fails on every rank, before anything else is sent, where one rank's arguments are wrong or the ranks'
-- do not belong together. Returns the mask in its normal form and every rank's counts of rows.
local function agree(comm, q, k, v, options)
  if comm.size == 1 then return prepare(q, k, v, options), { q:size(-2) }, { k:size(-2) } end
  local ok, result = pcall(prepare, q, k, v, options)
  local reason = not ok and tostring(result):gsub("^[^\n]-:%d+: ", "", 1)
  local same, own = { error = reason }, nil
  if ok then same, own = facts(q, k, v, result, options) end
  local rows = comm:agree("attend", same, own)
  if not ok then check.fail("%s", reason) end
  local queries, keys = {}, {}
  for i, row in ipairs(rows) do queries[i], keys[i] = row.queries, row.keys end
  return result, queries, keys
end

--- The local strategy never sends, so it needs no one, and all its rows are in order.
local function complete(options)
  local alone = options.strategy == "local"
  local comm = alone and comms.alone() or context.comm("attend", options.comm, "sp")
  local indices = options.indices
  return comm, {
    strategy = options.strategy or (comm.size == 1 and "local" or "ring"),
    layout = options.layout or indices and "indices" or alone and "contiguous" or context.current().layout,
    q_indices = indices and indices.q or indices, k_indices = indices and indices.k or indices,
    mask = options.mask, scale = options.scale,
  }
end

return function(q, k, v, options)
  local comm
  comm, options = complete(check.options("attend", options or {}, OPTIONS))
  local mask, queries, keys = agree(comm, q, k, v, options)
  local plan = Plan {
    comm = comm, mask = mask, scale = options.scale,
    queries = partition.of_counts("attend: queries", queries, options.layout, options.q_indices),
    keys = partition.of_counts("attend: keys", keys, options.layout, options.k_indices),
  }
  return strategy.get(options.strategy)(comm, q, k, v, plan)
end
