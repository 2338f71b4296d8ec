--- What the strategy `compressed` can do: options, masks, and queries that see whole blocks only.
local check = require "mosaic.check"
local Tiers = require "mosaic.tiers"

local POSSIBLE = { causal = true, prefix = true }

local function check_options(options)
  check.integer("compressed", "ratio", options.ratio or 16, 1)
  check.integer("compressed", "global_tokens", options.global_tokens or 0, 0)
  check.integer("compressed", "node_size", options.node_size or 1, 1)
  if options.pool ~= nil then check.callable("compressed", "pool", options.pool) end
end

--- Do all queries of these pieces stand before the run's last key, or from there on see all of it?
local function is_apart(q_pieces, run)
  local last = run.first + (run.count - 1) * run.step
  for _, piece in ipairs(q_pieces) do
    local final = piece[1] + (piece[3] - 1) * piece[2]
    if piece[3] > 0 and piece[1] < last and final >= run.first then return false end
  end
  return true
end

--- Fails where a causal mask would show queries of `rank` only a part of a block of `owner`.
local function check_pair(tiers, rank, owner)
  for _, run in ipairs(tiers:same_node(rank, owner) and {} or tiers.blocks[owner + 1].runs) do
    if not is_apart(tiers.plan.queries:pieces(rank), run) then
      check.fail("compressed: under a causal mask some queries of rank %d see only a part of the keys %d..%d "
        .. "of rank %d; use layout contiguous or zigzag", rank, run.first,
        run.first + (run.count - 1) * run.step, owner)
    end
  end
end

local function check_causal(tiers)
  for owner = 0, tiers.plan.keys.ranks - 1 do
    for rank = 0, tiers.plan.keys.ranks - 1 do check_pair(tiers, rank, owner) end
  end
end

--- Fails where a block would have to be seen in part.
return function(plan)
  check_options(plan.options)
  for name in pairs(plan.mask) do
    if not POSSIBLE[name] then
      check.fail("compressed: mask.%s tells apart the keys of a block; masks causal and prefix do not", name)
    end
  end
  if plan.dropout then check.fail "compressed: dropout tells apart the keys of a block; use none" end
  if plan.mask.causal then check_causal(Tiers(plan)) end
end
