--- Which ranks share a node: inside one, links are fast. Lists of ranks, the same on every rank.
--
--   comm:nodes()                              { {0, 1}, {2, 3} }: those that share memory
--   comm:nodes { size = 2 }                   so many ranks that follow each other, the last ones fewer
--   comm:nodes { groups = { {0, 1}, {2} } }   as given, checked
--   comm:nodes { probe = true }               by the time that small messages take
--
-- The first and the last are collective when first asked; the answer is kept. The environment variable
-- MOSAIC_NODE_SIZE=m stands for machines of m ranks each: for trying out several nodes on one.
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local clock = require "mosaic.clock"
local create = require "mosaic.tensor.create"
local environment = require "mosaic.environment"
local Comm = require "mosaic.comm.class"

local REPEATS = 30 -- messages per pair when probing; the fastest counts
local FACTOR = 2.5 -- links that differ by less are of one kind

local nodes = {}

--- numbers[i + 1] of rank i -> the ranks of equal number, in the order of their first ranks.
function nodes.grouped(numbers)
  local groups, by_number = {}, {}
  for i, number in ipairs(numbers) do
    if not by_number[number] then
      by_number[number] = {}
      groups[#groups + 1] = by_number[number]
    end
    table.insert(by_number[number], i - 1)
  end
  return groups
end

--- The latency above which a link leaves the node: in the widest gap between latencies; infinite where
-- they are all much alike.
local function threshold(latencies)
  local sorted, ratio, limit = {}, FACTOR, math.huge
  for i, row in ipairs(latencies) do
    for j = i + 1, #row do sorted[#sorted + 1] = math.max(row[j], latencies[j][i]) end
  end
  table.sort(sorted)
  for i = 2, #sorted do
    if sorted[i] > ratio * sorted[i - 1] then
      ratio, limit = sorted[i] / sorted[i - 1], sorted[i - 1]
    end
  end
  return limit
end

--- latencies[i][j] -> a number for each rank, equal for ranks that fast links join, over others or directly.
function nodes.clustered(latencies)
  local limit, numbers = threshold(latencies), {}
  local function visit(i, number)
    if numbers[i] then return end
    numbers[i] = number
    for j = 1, #latencies do
      if j ~= i and math.max(latencies[i][j], latencies[j][i]) <= limit then visit(j, number) end
    end
  end
  for i = 1, #latencies do visit(i, i) end
  return numbers
end

--- Nanoseconds that a message to the other rank takes, and one back.
local function latency(comm, other)
  local x, best = create.zeros { 1, device = "cpu" }, math.huge
  for _ = 1, REPEATS do
    local start = clock()
    comm:sendrecv(x, other, other)
    best = math.min(best, clock() - start)
  end
  return math.ceil(best * 1e9)
end

local find = {}

--- Every pair meets in one of the rounds.
function find.probe(comm)
  local own = {}
  for round = 0, comm.size - 1 do
    local other = (round - comm.rank) % comm.size
    own[other + 1] = other == comm.rank and 0 or latency(comm, other)
  end
  return nodes.clustered(comm:all_gather_list(own))
end

function find.detect(comm)
  local own, size = C.mosaic_comm_node(comm.handle), environment.number "MOSAIC_NODE_SIZE"
  if size then
    own = math.floor(C.mosaic_comm_world_rank(comm.handle, comm.rank) / size)
  end
  local numbers = {}
  for i, row in ipairs(comm:all_gather_list { own }) do numbers[i] = row[1] end
  return numbers
end

--- The number of each rank's node, found as `way` says or looked up.
local function numbers_of(comm, way)
  local known = comm.node_numbers or {}
  comm.node_numbers = known
  if not known[way] and comm.whole then
    known[way] = {}
    local whole = numbers_of(comm.whole, way)
    for i, rank in ipairs(comm.members) do known[way][i] = whole[rank + 1] end
  end
  known[way] = known[way] or find[way](comm)
  return known[way]
end

local function runs(size, length)
  local numbers = {}
  for rank = 0, size - 1 do numbers[rank + 1] = math.floor(rank / length) end
  return nodes.grouped(numbers)
end

--- Fails unless the groups have each of the ranks once.
local function check_groups(where, groups, size)
  local found, total = {}, 0
  for i, group in ipairs(check.kind(where, "nodes", groups, "table")) do
    if type(group) ~= "table" or #group == 0 then
      check.fail("%s: node %d must be a list of ranks, got %s", where, i,
        type(group) == "table" and "an empty one" or check.show(group))
    end
    for _, rank in ipairs(group) do
      if check.integer(where, ("a rank of node %d"):format(i), rank, 0) >= size then
        check.fail("%s: node %d has rank %d, the ranks are 0..%d", where, i, rank, size - 1)
      elseif found[rank] then
        check.fail("%s: rank %d is in node %d and in node %d", where, rank, found[rank], i)
      end
      found[rank], total = i, total + 1
    end
  end
  for rank = 0, total < size and size - 1 or -1 do
    if not found[rank] then check.fail("%s: rank %d is in no node", where, rank) end
  end
  return groups
end

--- As Comm:nodes, for errors of `where`; comm needs rank and size only where the nodes are given.
function nodes.of(where, comm, options)
  if options.size and options.groups then
    check.fail("%s: nodes of a size and a list of nodes exclude each other", where)
  elseif options.size then
    return runs(comm.size, check.integer(where, "the size of a node", options.size, 1))
  elseif options.groups then
    return check_groups(where, options.groups, comm.size)
  end
  return nodes.grouped(numbers_of(comm, options.probe and "probe" or "detect"))
end

function Comm:nodes(options)
  return nodes.of("nodes", self, check.options("nodes", options or {}, { "size", "groups", "probe" }))
end

--- What a communicator of these ranks (members[i + 1] becomes rank i) will look like to one of them, before
-- it is split off: it has rank, size and nodes, and cannot send.
function Comm:preview(members, rank)
  check.kind("preview", "members", members, "table")
  check.integer("preview", "rank", rank, 0)
  return setmetatable({ rank = rank, size = #members, members = members, whole = self }, Comm)
end

return nodes
