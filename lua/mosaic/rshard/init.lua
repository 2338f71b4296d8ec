--- Which rows go to which node in R-sharding: pure arithmetic on row numbers, and what each node can tell.
--
--   local sets = mosaic.rshard.sets { rows = 1000, cluster = 2, period = 7, group = 2 }
--   sets.compute    alpha lists of rows, R_1 ..: attend's `indices`, with sets:indices(ranks)
--   sets.attention  beta lists of rows, S_1 ..: the strategy's `attention`, or its `tokens`
--   print(mosaic.rshard.report(sets))
--
-- Clusters of c rows that follow each other are dealt to alpha = ceil(p / c) compute nodes with period p:
-- node i has the rows k p + (i-1) c + u, 1 <= u <= c. The nodes are taken in groups; S_(g,u) has the u-th
-- row of every cluster of group g, so beta = c ceil(alpha / group). Attention node (j,l) sees the queries of
-- S_j and the keys of S_l. No node should see rows from which the text between them can be guessed:
-- a smallest gap of 1 is recoverable, 2 is borderline, 3 and more is taken as infeasible. Compute nodes with
-- c = 1 and nodes (j,j) with group = 1 keep a gap of p; some node (j,l) never does: dense attention has
-- somebody multiply the query of row i + 1 with the key of row i. The report says who.
local check = require "mosaic.check"
local class = require "mosaic.class"
local dealing = require "mosaic.rshard.dealing"
local privacy = require "mosaic.rshard.privacy"

local rshard = {}

local Sets = class("RowSets")

function Sets:init(compute, attention) self.compute, self.attention = compute, attention end

--- Lists for attend's `indices`: what compute nodes own, and nothing for the ranks after them.
function Sets:indices(ranks)
  check.integer("rshard", "ranks", ranks, #self.compute)
  local lists = {}
  for rank = 1, ranks do lists[rank] = self.compute[rank] or {} end
  return lists
end

--- R and S of the rows 1..rows. options: rows, cluster, period; group: compute nodes per group (2).
function rshard.sets(options)
  check.options("rshard.sets", options, { "rows", "cluster", "period", "group" })
  local total, rows = check.integer("rshard.sets", "rows", options.rows, 0), {}
  for row = 1, total do rows[row] = row end
  local node_of, set_of, alpha, beta = dealing.rule("rshard.sets", {
    cluster = options.cluster, period = options.period, group = options.group,
  })
  return Sets(dealing.lists(rows, alpha, node_of), dealing.lists(rows, beta, set_of))
end

rshard.privacy, rshard.report = privacy.list, privacy.report

return rshard
