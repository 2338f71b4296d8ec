--- Attention over a sharded sequence: checks what the ranks bring, then runs a strategy.
--
--   local out, lse = mosaic.attend(q, k, v, { strategy = "ring", comm = comm, mask = { causal = true } })
--
-- q (..., heads, n, d) holds this rank's queries, k and v (..., kv heads, m, d) its keys and values;
-- the layout says which global rows these are. Returns this rank's rows of the result,
-- out (..., heads, n, d) and lse (..., heads, n), equal to attention on one rank.
-- options: strategy (a name, a function or a table, see strategy/init.lua; default "ring", "local" on one
-- rank), comm, layout and indices (a list per rank, or { q = lists, k = lists }; defaults: mosaic.init's);
-- wire = "bf16", "fp8" or "int8": keys and values are rounded to it and travel so (wire.lua);
-- as for mosaic.sdpa: scale, dropout, head_from, batch_from, batch_total, and mask, with documents for this
-- rank's rows, keep and bias for this rank's queries and all keys.
local check = require "mosaic.check"
local comms = require "mosaic.comm"
local context = require "mosaic.context"
local create = require "mosaic.tensor.create"
local masks = require "mosaic.mask"
local numbers = require "mosaic.numbers"
local partition = require "mosaic.partition"
local Plan = require "mosaic.plan"
local state = require "mosaic.state"
local strategy = require "mosaic.strategy"
local Tensor = require "mosaic.tensor"
local values = require "mosaic.values"
local wire = require "mosaic.wire"

local WHOLE = { "scale", "dropout", "head_from", "batch_from", "batch_total" } -- as for mosaic.sdpa
local OPTIONS = { "strategy", "comm", "layout", "indices", "mask", "wire", unpack(WHOLE) }

--- The local strategy on many ranks would see a rank's own keys only, without a word.
local function check_reach(comm, options)
  if comm.size > 1 and strategy.name_of(options.strategy) == "local" then
    check.fail("attend: strategy 'local' attends to one rank's rows, comm has %d ranks: name a strategy that "
      .. "works across them ('ring', 'gather', ...), or leave comm out", comm.size)
  end
end

--- What this rank brings, checked as far as it can tell alone: { mask in its normal form, strategy, k and v
-- as everyone will see them }.
local function prepare(q, k, v, options)
  for name, t in pairs { q = q or false, k = k or false, v = v or false } do
    if not Tensor.is(t) or t.ndim < 2 then
      check.fail("attend: %s must be a tensor (..., heads, rows, d), got %s", name,
        Tensor.is(t) and t:describe() or check.show(t))
    end
  end
  if v:size(-2) ~= k:size(-2) then
    check.fail("attend: k has %d rows, v has %d: every key needs its value", k:size(-2), v:size(-2))
  end
  local mask = masks.normal("attend", options.mask, q.device)
  masks.check_rows("attend", mask, q:size(-2), k:size(-2))
  numbers.scale("attend", options.whole.scale)
  numbers.dropout("attend", options.whole.dropout)
  numbers.place("attend", options.whole)
  if options.wire ~= nil then
    wire.check(options.wire, "attend")
    k, v = wire.round(k, options.wire), wire.round(v, options.wire)
  end
  return { mask = mask, strategy = strategy.get(options.strategy), k = k, v = v }
end

--- The shape without its row axis, as text: what ranks must agree on.
local function frame(t)
  local shape = t.shape
  shape[#shape - 1] = "n"
  return ("%s [%s]"):format(t.dtype, table.concat(shape, ","))
end

--- What all ranks must have in common, and what each has for itself.
local function facts(q, brought, options)
  local k, v = brought.k, brought.v
  return {
    q = frame(q), k = frame(k), v = frame(v), mask = masks.describe(brought.mask),
    layout = options.layout, scale = options.whole.scale or "default",
    dropout = options.whole.dropout and strategy.describe("dropout", options.whole.dropout) or nil,
    strategy = brought.strategy.text, wire = options.wire, place = numbers.describe_place(options.whole),
    q_indices = partition.fingerprint(options.q_indices),
    k_indices = partition.fingerprint(options.k_indices),
    recording = state.current.recording, device = q.device:match "^[^:]+",
  }, { queries = q:size(-2), keys = k:size(-2) }
end

--- Fails on every rank, before anything else is sent, where one rank's arguments are wrong or the ranks'
-- do not belong together. Returns what prepare gave, and every rank's rows.
local function agree(comm, q, k, v, options)
  if comm.size == 1 then return prepare(q, k, v, options), { q:size(-2) }, { k:size(-2) } end
  local brought, queries, keys = nil, {}, {}
  local rows = comm:together("attend", function()
    check_reach(comm, options)
    brought = prepare(q, k, v, options)
    return facts(q, brought, options)
  end)
  for i, row in ipairs(rows) do queries[i], keys[i] = row.queries, row.keys end
  return brought, queries, keys
end

--- The local strategy never sends, so without a communicator it needs no one, and all its rows are in order.
local function complete(options)
  local is_local = strategy.name_of(options.strategy) == "local"
  local nobody = is_local and options.comm == nil
  local comm = nobody and comms.alone() or context.comm("attend", options.comm, "sp")
  local alone = is_local and comm.size == 1
  local indices = options.indices
  local whole = {}
  for _, name in ipairs(WHOLE) do whole[name] = options[name] end
  return comm, {
    strategy = options.strategy or (comm.size == 1 and "local" or "ring"),
    layout = options.layout or indices and "indices" or alone and "contiguous" or context.layout(),
    q_indices = indices and indices.q or indices, k_indices = indices and indices.k or indices,
    mask = options.mask, wire = options.wire, whole = whole,
  }
end

--- The ids of all rows by global position. They go by way of the host, where visibility reads them.
local function all_ids(comm, ids, part)
  local device = ids.device
  if comm.size > 1 then
    state.current.agreed_bytes = state.current.agreed_bytes + (comm.size - 1) * ids:numel() * 8
    ids = comm:all_gather(values.on_cpu(ids), -1, part:row_counts())
  end
  if not part:is_in_order() then
    ids = ids:index_select(-1, create.tensor(part:places(), { dtype = "i64", device = ids.device }))
  end
  return values.send(ids, device)
end

--- Documents of all queries and keys instead of this rank's: every rank must be able to tell what others see.
local function spread_documents(comm, mask, queries, keys)
  local ids = mask.documents
  if not ids then return end
  local q = all_ids(comm, ids.q, queries)
  mask.documents = { q = q, k = ids.k == ids.q and q or all_ids(comm, ids.k, keys) }
end

return function(q, k, v, options)
  local comm
  comm, options = complete(check.options("attend", options or {}, OPTIONS))
  local brought, query_counts, key_counts = agree(comm, q, k, v, options)
  local queries = partition.of_counts("attend: queries", query_counts, options.layout, options.q_indices)
  local keys = partition.of_counts("attend: keys", key_counts, options.layout, options.k_indices)
  local mask, wanted = brought.mask, brought.strategy
  masks.check_columns("attend", mask, keys.rows)
  local plan = Plan {
    comm = comm, queries = queries, keys = keys, mask = mask, wire = options.wire, options = wanted.options,
    device = q.device,
  }:with(options.whole)
  strategy.check(wanted, q, k, v, plan)
  spread_documents(comm, mask, queries, keys)
  return wanted.body.attend(comm, q, brought.k, brought.v, plan)
end
