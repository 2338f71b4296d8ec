--- Layouts that share the work of packed documents evenly: index lists for shard, attend and layers.
--
--   local indices = mosaic.balance.documents({ 700, 12, 300 }, 4, { causal = true })
--   local part = mosaic.shard(x, { axis = 2, indices = indices })
--
-- A plain layout gives whole documents to some ranks, and a query's work is its own document's length. Here
-- every document is cut into twice as many runs as there are ranks, an early run goes with a late one
-- (as zigzag does for one sequence), and the pairs are dealt, most work first, to the rank with the
-- least so far. Rows of a rank are in ascending order.
local check = require "mosaic.check"

local balance = {}

--- Pairs of query and key of rows first..last of a document of `length` rows.
local function work_of(first, last, length, causal)
  if last < first then return 0 end
  if not causal then return (last - first + 1) * length end
  return (first + last) * (last - first + 1) / 2
end

--- The document's pairs of runs, most work first: { work, runs = { { first, last }, { first, last } } }.
local function slots_of(length, ranks, causal)
  local slots, runs = {}, 2 * ranks
  for i = 0, ranks - 1 do
    local slot = { work = 0, runs = {} }
    for _, run in ipairs { i, runs - 1 - i } do
      local first, last = math.floor(run * length / runs) + 1, math.floor((run + 1) * length / runs)
      slot.work = slot.work + work_of(first, last, length, causal)
      slot.runs[#slot.runs + 1] = { first, last }
    end
    slots[i + 1] = slot
  end
  table.sort(slots, function(a, b)
    if a.work ~= b.work then return a.work > b.work end
    return a.runs[1][1] < b.runs[1][1]
  end)
  return slots
end

local function check_lengths(lengths, ranks)
  check.kind("balance.documents", "lengths", lengths, "table")
  check.integer("balance.documents", "ranks", ranks, 1)
  for i, length in ipairs(lengths) do
    check.integer("balance.documents", ("lengths[%d]"):format(i), length, 0)
  end
end

--- Ranks, the one with the least work first.
local function ranks_by_load(loads)
  local order = {}
  for rank = 1, #loads do order[rank] = rank end
  table.sort(order, function(a, b)
    if loads[a] ~= loads[b] then return loads[a] < loads[b] end
    return a < b
  end)
  return order
end

--- Documents, the longest first: { first row - 1, length }.
local function longest_first(lengths)
  local documents, before = {}, 0
  for i, length in ipairs(lengths) do
    documents[i] = { before, length }
    before = before + length
  end
  table.sort(documents, function(a, b)
    if a[2] ~= b[2] then return a[2] > b[2] end
    return a[1] < b[1]
  end)
  return documents
end

--- indices[rank + 1]: the rows of each rank, for documents of these lengths one after the other.
-- options: causal (a query sees its document up to itself; default false: all of it).
function balance.documents(lengths, ranks, options)
  options = check.options("balance.documents", options or {}, { "causal" })
  check_lengths(lengths, ranks)
  local indices, loads = {}, {}
  for rank = 1, ranks do indices[rank], loads[rank] = {}, 0 end
  for _, document in ipairs(longest_first(lengths)) do
    local order = ranks_by_load(loads)
    for i, slot in ipairs(slots_of(document[2], ranks, options.causal)) do
      local rank = order[i]
      loads[rank] = loads[rank] + slot.work
      for _, run in ipairs(slot.runs) do
        for row = run[1], run[2] do table.insert(indices[rank], document[1] + row) end
      end
    end
  end
  for _, list in ipairs(indices) do table.sort(list) end
  return indices
end

return balance
