--- Keys and values travel around the ring; queries stay home.
--
-- At step t a rank attends to the block of rank (r - t) mod p while the next block is on its way; rows
-- that no other rank sees stay at home, and a block ends its way at the last rank that sees it. Sent per
-- rank without a mask: 2 (p-1) n Hkv d b forward, as much and 2 (p-1) n Hkv d gradients in f32 backward.
-- Memory O(n). (Liu et al. 2023, "Ring attention with blockwise transformers".)
-- directions = 2: half of each block goes the other way round, so that both directions of the links work.
-- pass = "q": queries go round instead, and their results with them, so keys and values stay home: (p-1) n H
-- (d b + d out + 8 bytes of lse). pass = "auto" takes what sends less, the default is "kv".
local check = require "mosaic.check"
local rotate = require "mosaic.rotate"
local rotate_queries = require "mosaic.rotate_queries"
local strategy = require "mosaic.strategy"
local Tensor = require "mosaic.tensor"
local traffic = require "mosaic.traffic"

--- Why queries cannot go round, or nil.
local function obstacle(plan)
  if plan.options.directions == 2 then return "directions = 2" end
  for _, name in ipairs { "keep", "bias" } do
    if Tensor.is(plan.mask[name]) then return ("the tensor mask.%s"):format(name) end
  end
end

--- Do queries travel, not keys? Fails where they cannot.
local function passes_queries(plan, sizes)
  local pass = plan.options.pass or "kv"
  if pass == "kv" then return false end
  local reason = obstacle(plan)
  if pass == "q" and reason then
    check.fail("ring: %s does not go with pass = 'q'; pass = 'kv' or 'auto' would do", reason)
  elseif pass == "q" or reason then
    return pass == "q"
  end
  local queries, keys = traffic.of_plan(plan, sizes)
  return queries < keys
end

return {
  options = { "directions", "pass" },
  balanced = true,

  check = function(plan, sizes)
    local directions = plan.options.directions
    if directions ~= nil and directions ~= 1 and directions ~= 2 then
      check.fail("ring: directions must be 1 or 2, got %s", check.show(directions))
    end
    check.one_of("ring", "pass", plan.options.pass or "kv", { "kv", "q", "auto" })
    passes_queries(plan, sizes)
  end,

  attend = function(comm, q, k, v, plan)
    if passes_queries(plan, strategy.sizes(q, k, v)) then
      return rotate_queries.attend(comm, q, k, v, plan)
    end
    return rotate(comm, q, k, v, plan, { directions = plan.options.directions })
  end,

  backward = function(comm, q, k, v, plan, g)
    if passes_queries(plan, strategy.sizes(q, k, v)) then
      return rotate_queries.backward(comm, q, k, v, plan, g)
    end
    return rotate.backward(comm, q, k, v, plan, g, { directions = plan.options.directions })
  end,

  --- Own q, k, v and the result, a block's result, the block that is here and the one that arrives: 9 n E b,
  -- and 15 %. Beside these lse, twice, and document ids of all rows, which weigh little where heads are wide.
  memory = function(plan, sizes)
    if plan.wire or passes_queries(plan, sizes) then return -1 end
    local rows, keys = plan.queries:count(plan.comm.rank), math.max(unpack(plan.keys:row_counts()))
    local ids = plan.mask.documents and 8 * 4 * (rows + keys) * plan.comm.size or 0
    return 1.15 * sizes.batch * sizes.d * (rows * sizes.heads * (sizes.bytes + 2 * sizes.out_bytes)
      + 6 * keys * sizes.kv_heads * sizes.bytes) + 2 * 8 * sizes.batch * rows * sizes.heads + ids
  end,

  volume = function(plan, sizes)
    if passes_queries(plan, sizes) then
      local queries, results = rotate_queries.rows_sent(plan)
      return queries * traffic.query(sizes) + results * traffic.result(sizes)
    end
    return rotate.volume(plan.comm, plan, sizes, { directions = plan.options.directions })
  end,
}
