--- Infini-attention: causal within segments, a compressive memory of what came before (infini.lua).
--
--   { "infini", segment = 64, update = "delta", beta = tensor (heads) }   segment: default 64, beta: 0
--
-- Queries and keys are the same rows, contiguous, the mask causal (and ALiBi). A segment that lies on
-- several ranks goes to the one that has its first row, and its part of the result comes back. From rank to
-- rank goes the memory, in ceil(log2 p) messages of d (d + 1) numbers per kv head (delta: d + 2 d^2).
local check = require "mosaic.check"
local create = require "mosaic.tensor.create"
local memory = require "mosaic.infini.memory"
local prepare = require "mosaic.infini.prepare"
local run = require "mosaic.infini.run"
local segments = require "mosaic.infini.segments"
local Tensor = require "mosaic.tensor"
local wire = require "mosaic.wire"

local SEGMENT = 64

--- The counts of rows, the same for queries and keys.
local function counts_of(plan)
  local queries, keys = segments.lengths(plan.queries), segments.lengths(plan.keys)
  if not queries or not keys then
    check.fail('infini: rows must follow each other from rank to rank: use layout = "contiguous"')
  elseif table.concat(queries, ",") ~= table.concat(keys, ",") then
    check.fail("infini: queries and keys must be the same rows, got {%s} and {%s} on the ranks",
      table.concat(queries, ", "), table.concat(keys, ", "))
  end
  return queries
end

local function check_mask(plan)
  if plan.mask.causal ~= true then
    check.fail("infini: attention within a segment is causal, so the mask must be: mask = { causal = true }")
  end
  for name in pairs(plan.mask) do
    if name ~= "causal" and name ~= "alibi" then
      check.fail("infini: mask.%s has no meaning for a compressive memory; causal and alibi have", name)
    end
  end
  if plan.dropout then check.fail "infini: dropout has no meaning for a compressive memory" end
end

return {
  options = { "segment", "update", "beta" },
  approximate = "what lies before a segment is read from a memory of d x d numbers a head",
  verify = { mask = "causal", layout = "contiguous" },

  check = function(plan, sizes)
    local o = plan.options
    counts_of(plan)
    check_mask(plan)
    check.integer("infini", "segment", o.segment or SEGMENT, 1)
    check.one_of("infini", "update", o.update or "linear", memory.UPDATES)
    local fits = Tensor.is(o.beta) and o.beta.ndim == 1 and o.beta:size(1) == sizes.heads
    if o.beta ~= nil and not fits then
      check.fail("infini: beta must be a tensor of %d numbers, one a head, got %s", sizes.heads,
        check.show(o.beta))
    end
  end,

  attend = function(comm, q, k, v, plan)
    local o = plan.options
    local call = prepare.own(q, k, v, {
      segment = o.segment or SEGMENT, update = o.update, scale = plan.scale, alibi = plan.mask.alibi,
      beta = o.beta or create.zeros { q:size(-3), device = q.device },
    })
    call.comm, call.counts, call.wire = comm, counts_of(plan), plan.wire
    return run(call)
  end,

  volume = function(plan, sizes)
    local rank, have, d = plan.comm.rank, counts_of(plan), sizes.d
    local want = segments.counts(have, plan.options.segment or SEGMENT, 0)
    local row = sizes.heads * d * sizes.bytes + 2 * sizes.kv_heads * wire.bytes(plan.wire, d, sizes.bytes)
    local rows = segments.leaving(have, want, rank) * row
      + segments.leaving(want, have, rank) * sizes.heads * d * sizes.out_bytes
    local numbers, step = 0, 1
    while rank + step < plan.comm.size do
      numbers = numbers + (plan.options.update == "delta" and 1 + 2 * d or d + 1) * sizes.kv_heads
      step = step * 2
    end
    return sizes.batch * (rows + numbers * d * sizes.out_bytes)
  end,
}
