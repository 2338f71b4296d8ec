--- Blocks of queries against blocks of keys, dealt to ranks: who works on which, and what travels for it.
--
-- The rows are cut into query sets and key sets (placements over the sets, any interleaving), and
-- nodes[j][l] is the rank for query set j against key set l. A rank wants the rows of its sets once each;
-- the partial results of a query set go from all its ranks to the owners of the rows. Pairs of sets that a
-- mask empties have no rank. Pure arithmetic:
--   queries, keys   placements: the rows that each rank wants
--   blocks          of this rank, a list of { first, count: where the set stands among its queries, pieces,
--                   runs = { { first, count, pieces }: of its keys, ... } }; never empty, so that every rank
--                   takes part in backward
--   have, want      placements of partial results; row r of the t-th rank of its set is numbered r + t rows
--   shares          of one rank, a list of { count, parts }: its rows of a set, and how often they arrive
--   order           where in these the rank's own rows stand
local class = require "mosaic.class"
local Placement = require "mosaic.placement"
local visibility = require "mosaic.visibility"

local Deal = class("Deal")

local NOTHING = { first = 1, count = 0, pieces = {} }

--- work[rank][j] = { l, ... }: which pairs a rank has; ranks[j]: the ranks of a query set.
local function hand_out(self, nodes)
  self.work, self.ranks = {}, {}
  for rank = 0, self.plan.comm.size - 1 do self.work[rank] = {} end
  for j, row in ipairs(nodes) do
    self.ranks[j] = {}
    local function give(rank, l)
      local work = self.work[rank]
      if not work[j] then
        work[j] = {}
        table.insert(self.ranks[j], rank)
      end
      work[j][#work[j] + 1] = l
    end
    for l, rank in ipairs(row) do
      if visibility.any(self.plan.mask, self.q_sets:pieces(j - 1), self.k_sets:pieces(l - 1)) then
        give(rank, l)
      end
    end
    if #self.ranks[j] == 0 then give(row[1]) end -- somebody has to say that nothing is seen
  end
end

--- The sets of a rank, ascending: of queries, of keys.
local function sets_of(self, rank)
  local q, k, known = {}, {}, {}
  for j = 1, self.q_sets.ranks do
    local keys = self.work[rank][j]
    if keys then q[#q + 1] = j end
    for _, l in ipairs(keys or {}) do known[l] = true end
  end
  for l = 1, self.k_sets.ranks do
    if known[l] then k[#k + 1] = l end
  end
  return q, k
end

local function joined(sets, numbers)
  local ranks = {}
  for i, number in ipairs(numbers) do ranks[i] = number - 1 end
  return sets:joined(ranks)
end

--- Runs of a rank's key sets that one of its query sets sees.
local function runs_of(self, keys, wanted)
  local runs, at, open, seen = {}, 1, nil, {}
  for _, l in ipairs(wanted) do seen[l] = true end
  for _, l in ipairs(keys) do
    local count = self.k_sets:count(l - 1)
    if not seen[l] then
      open = nil
    elseif not open then
      open = { first = at, count = 0, sets = {} }
      runs[#runs + 1] = open
    end
    if open then
      open.count = open.count + count
      table.insert(open.sets, l)
    end
    at = at + count
  end
  for _, run in ipairs(runs) do run.pieces = joined(self.k_sets, run.sets) end
  return #runs > 0 and runs or { NOTHING }
end

local function blocks_of(self, rank)
  local blocks, at = {}, 1
  local queries, keys = sets_of(self, rank)
  for i, j in ipairs(queries) do
    local count = self.q_sets:count(j - 1)
    blocks[i] = {
      first = at, count = count, pieces = self.q_sets:pieces(j - 1),
      runs = runs_of(self, keys, self.work[rank][j]),
    }
    at = at + count
  end
  if #blocks == 0 then blocks[1] = { first = 1, count = 0, pieces = {}, runs = { NOTHING } } end
  return blocks
end

--- The same pieces, numbered on.
local function shifted(pieces, by, list)
  for _, piece in ipairs(pieces) do list[#list + 1] = { piece[1] + by, piece[2], piece[3] } end
end

--- The t-th rank of a set has its partial results.
local function partials_had(self)
  local lists = {}
  for rank = 0, self.plan.comm.size - 1 do
    lists[rank + 1] = {}
    for j = 1, self.q_sets.ranks do
      for t, other in ipairs(self.work[rank][j] and self.ranks[j] or {}) do
        if other == rank then shifted(self.q_sets:pieces(j - 1), t * self.rows, lists[rank + 1]) end
      end
    end
  end
  return Placement(lists)
end

--- The places and rows of an owner, by query set.
local function by_set(self, rank)
  local places, pieces = {}, {}
  for j = 1, self.q_sets.ranks do places[j], pieces[j] = {}, {} end
  for place, row in ipairs(self.plan.queries:positions(rank)) do
    local j = self.set_of[row]
    table.insert(places[j], place)
    table.insert(pieces[j], { row, 1, 1 })
  end
  return places, pieces
end

local function partials_wanted(self)
  local lists = {}
  for rank = 0, self.plan.comm.size - 1 do
    local _, pieces = by_set(self, rank)
    lists[rank + 1] = {}
    for j, rows in ipairs(pieces) do
      for t in ipairs(self.ranks[j]) do shifted(rows, t * self.rows, lists[rank + 1]) end
    end
  end
  return Placement(lists)
end

--- What arrives at an owner.
local function shares_of(self, rank)
  local shares, order, at = {}, {}, 0
  for j, places in ipairs((by_set(self, rank))) do
    if #places > 0 then shares[#shares + 1] = { count = #places, parts = #self.ranks[j] } end
    for i, place in ipairs(places) do order[place] = at + i end
    at = at + #places
  end
  return shares, order
end

--- plan, query sets, key sets, nodes[j][l] = rank.
function Deal:init(plan, q_sets, k_sets, nodes)
  self.plan, self.q_sets, self.k_sets, self.set_of, self.rows = plan, q_sets, k_sets, {}, 0
  for j = 1, q_sets.ranks do
    for _, row in ipairs(q_sets:positions(j - 1)) do
      self.set_of[row], self.rows = j, math.max(self.rows, row)
    end
  end
  hand_out(self, nodes)
  local queries, keys = {}, {}
  for rank = 0, plan.comm.size - 1 do
    local q, k = sets_of(self, rank)
    queries[rank + 1], keys[rank + 1] = joined(q_sets, q), joined(k_sets, k)
  end
  self.queries, self.keys, self.blocks = Placement(queries), Placement(keys), blocks_of(self, plan.comm.rank)
  self.have, self.want = partials_had(self), partials_wanted(self)
  self.shares, self.order = shares_of(self, plan.comm.rank)
end

return Deal
