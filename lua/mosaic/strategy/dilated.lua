--- Dilated attention: every head sees each r-th row of segments of w rows, at several (w, r) at once.
--
--   { "dilated", segments = {2048, 8192, 32768}, rates = {1, 4, 16} }      the defaults
--
-- At rate i, head h (from 0) selects the rows of a segment whose place in it is h mod r (offsets = "groups":
-- the heads are cut into r runs, one an offset); selected queries attend to selected keys, and the rates
-- are combined by the softmax of their lse. The same as dense attention with bias log c, c the number of
-- rates that select both query and key. A row that no rate selects gets 0. heads = "partition": the heads
-- are cut into a run for each rate. Multiply-adds: 4 N H d sum w/r^2.
-- Queries stay at home. Segments that a rank has whole cost no messages; of others each rank gets the
-- selected rows that its queries see: at most 2 (w/r) Hkv d b for a segment, whatever N (Hkv: a key/value
-- head once for every offset among its query heads). Memory O(n). parallel = "heads": rows change places
-- with heads as in "heads", then all is local.
-- (Ding et al. 2023, "LongNet: scaling transformers to 1,000,000,000 tokens".)
local head_split = require "mosaic.head_split"
local partial = require "mosaic.partial"
local pattern = require "mosaic.dilated.pattern"
local run = require "mosaic.dilated.run"
local Schedule = require "mosaic.dilated.schedule"

local attend = partial.recorded("dilated", run.forward, run.backward)

local function by_rows(comm, q, k, v, plan)
  if q.ndim > 2 then return attend(comm, q, k, v, plan) end
  local out, lse = attend(comm, q:unsqueeze(1), k:unsqueeze(1), v:unsqueeze(1), plan) -- one head
  return out:squeeze(1), lse:squeeze(1)
end

local function by_heads(comm, q, k, v, plan)
  plan = plan:with { total_heads = q.ndim > 2 and q:size(-3) or 1 }
  q, k, v, plan = head_split.scatter(comm, q, k, v, plan)
  local out, lse = attend(plan.comm, q, k, v, plan)
  return head_split.collect(comm, out, lse, plan)
end

return {
  options = pattern.OPTIONS,
  approximate = "attends to LongNet's dilated pattern only",

  check = function(plan, sizes) pattern.check(plan, sizes.heads) end,

  attend = function(comm, q, k, v, plan)
    if plan.options.parallel == "heads" then return by_heads(comm, q, k, v, plan) end
    return by_rows(comm, q, k, v, plan)
  end,

  volume = function(plan, sizes)
    if plan.options.parallel == "heads" then return head_split.volume(plan, sizes) end
    return Schedule(plan, sizes.heads, sizes.kv_heads):volume(sizes)
  end,
}
