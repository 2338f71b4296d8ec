--- Ranks as a mesh of a rows and c columns: rank (i, j) computes the tile of query block i and key block j.
--
-- The queries of a row's ranks, wherever in the sequence they are, form query block i, the keys of a
-- column's ranks key block j; tile.lua gathers the queries and merges the results at home. Keys go round in
-- their column, the next ones on their way while these are used. Every pair of a query and a key belongs to
-- one tile, and with zigzag or striped shards causal tiles are equal work.
-- Sent per rank: n H (d b + d out + 8 bytes of lse) (c-1) + 2 n Hkv d b (a-1); about 4 N E b / sqrt(p) in
-- all. Memory: N/a queries and two blocks of keys in forward and, gathered again, in backward; O(n) in
-- between.
-- mesh_shape = {a, c}; by default the most square one, turned so that less is sent. Ranks that follow each
-- other form the rows: put the fast links there, for queries and results are the larger part.
local mask_rows = require "mosaic.mask_rows"
local mesh_shape = require "mosaic.mesh_shape"
local partial = require "mosaic.partial"
local rotate = require "mosaic.rotate"
local strategy = require "mosaic.strategy"
local Tile = require "mosaic.tile"
local traffic = require "mosaic.traffic"

local function shape_of(plan, sizes)
  if plan.options.mesh_shape then return unpack(plan.options.mesh_shape) end
  local short, long = mesh_shape.most_square(plan.comm.size)
  local queries, keys = traffic.of_plan(plan, sizes)
  if queries <= keys then return short, long end
  return long, short
end

local function new_tile(comm, q, k, v, plan)
  return Tile(comm, plan, shape_of(plan, strategy.sizes(q, k, v)))
end

local function forward(comm, q, k, v, plan)
  local tile = new_tile(comm, q, k, v, plan)
  local queries = tile:gather_queries(-2, q)
  local whole = tile.plan:with { mask = mask_rows.gather(tile.row, plan.mask, tile.query_rows) }
  return tile:merge_home(rotate.forward(tile.column, queries:wait(), k, v, whole))
end

local function backward(comm, q, k, v, plan, g)
  local tile = new_tile(comm, q, k, v, plan)
  local queries, dout = tile:gather_queries(-2, q, g.dout)
  local lse, delta = tile:gather_queries(-1, g.lse, g.delta)
  local mask, bias_home = mask_rows.gather_again(tile.row, plan.mask, tile.query_rows, g.dbias ~= nil)
  queries = queries:wait()
  local moved = { dout = dout:wait(), lse = lse:wait(), delta = delta:wait() }
  local sums = partial.moved_sums(moved, queries, mask, g.dq.dtype)
  local dk, dv = rotate.backward(tile.column, queries, k, v, tile.plan:with { mask = mask }, sums)
  g.dq:add_(tile:queries_home(sums.dq))
  local dbias = sums.dbias and bias_home(sums.dbias)
  if dbias then g.dbias:add_(dbias) end
  return dk, dv
end

return {
  options = { "mesh_shape" },
  balanced = true,

  check = function(plan) mesh_shape.check("mesh2d", plan.options.mesh_shape, plan.comm.size) end,

  attend = partial.recorded("mesh2d", forward, backward),
  backward = backward,

  volume = function(plan, sizes) return Tile.volume(plan, sizes, shape_of(plan, sizes)) end,
}
