--- The sets of rows that attention nodes of R-sharding work on, from the options of the strategy.
local check = require "mosaic.check"
local dealing = require "mosaic.rshard.dealing"
local Placement = require "mosaic.placement"
local visibility = require "mosaic.visibility"

--- The rows of all ranks, ascending, each once.
local function rows_of(placement)
  local known, rows = {}, {}
  for rank = 0, placement.ranks - 1 do
    for _, row in ipairs(placement:positions(rank)) do
      if not known[row] then
        known[row] = true
        rows[#rows + 1] = row
      end
    end
  end
  table.sort(rows)
  return rows
end

--- row -> number of the list that has it; every row must be in exactly one, and none above `last`.
local function owner_among(what, lists, rows, last)
  local owner = {}
  for i, list in ipairs(lists) do
    for _, row in ipairs(check.kind("rshard", ("%s %d"):format(what, i), list, "table")) do
      check.integer("rshard", ("an index of %s %d"):format(what, i), row, 1)
      if row > last then
        check.fail("rshard: index %d is in %s %d, the last row is %d", row, what, i, last)
      elseif owner[row] then
        check.fail("rshard: index %d is in %s %d and in %s %d", row, what, owner[row], what, i)
      end
      owner[row] = i
    end
  end
  for _, row in ipairs(rows) do
    if not owner[row] then check.fail("rshard: index %d is in no %s", row, what) end
  end
  return function(row) return owner[row] end
end

--- Ascending rows as affine pieces.
local function pieces_of(rows)
  local pieces = {}
  for _, row in ipairs(rows) do
    local last = pieces[#pieces]
    if last and last[3] == 1 then
      last[2], last[3] = row - last[1], 2
    elseif last and row == last[1] + last[2] * last[3] then
      last[3] = last[3] + 1
    else
      pieces[#pieces + 1] = { row, 1, 1 }
    end
  end
  return pieces
end

--- Rows dealt one by one: as much work for every pair of sets, whatever the mask.
local function one_by_one(beta)
  local place = 0
  return function()
    place = place + 1
    return (place - 1) % beta + 1
  end
end

--- How the attention nodes' sets are made: their number, and rule(rows, "q" or "k", last) -> row -> set.
local function rule_of(options, ranks)
  local lists = options.attention
  if (options.tokens and 1 or 0) + (lists and 1 or 0) + (options.beta and 1 or 0) > 1 then
    check.fail "rshard: beta, tokens and attention exclude each other"
  elseif options.tokens then
    local _, set_of, _, beta = dealing.rule("rshard", options.tokens)
    return beta, function() return set_of end
  elseif lists then
    check.kind("rshard", "attention", lists, "table")
    lists = { q = lists.q or lists, k = lists.k or lists }
    if #lists.q ~= #lists.k then
      check.fail("rshard: attention has %d sets of queries and %d of keys", #lists.q, #lists.k)
    end
    return #lists.q, function(rows, which, last)
      local bound = lists.q == lists.k and math.max(last.q, last.k) or last[which]
      return owner_among("attention set", lists[which], rows, bound)
    end
  end
  local beta = check.integer("rshard", "beta", options.beta or math.floor(math.sqrt(ranks)), 1)
  return beta, function() return one_by_one(beta) end
end

--- The attention nodes' sets of a plan's queries, and of the keys that any query sees, as placements over the
-- sets. options: as of the strategy; ranks: how many are attention nodes.
return function(plan, options, ranks)
  local beta, rule = rule_of(options, ranks)
  local function last(placement) return placement.rows or math.huge end -- open where it is part of a whole
  local lasts = { q = last(plan.queries), k = last(plan.keys) }
  local function cut(placement, which, some)
    local set_of = rule(rows_of(placement), which, lasts)
    local lists = dealing.lists(rows_of(some), beta, set_of)
    for i, list in ipairs(lists) do lists[i] = pieces_of(list) end
    return Placement(lists)
  end
  local seen = visibility.seen_keys(plan.mask, plan.queries, plan.keys)
  return cut(plan.queries, "q", plan.queries), cut(plan.keys, "k", seen)
end
