--- What each node of R-sharding can tell from the rows that it sees.
local check = require "mosaic.check"
local roles = require "mosaic.rshard.roles"

local privacy = {}

--- "recoverable", "borderline" or "infeasible", and the gaps between the rows that somebody sees.
local function exposure(node, lists)
  local known, rows, smallest, largest = {}, {}, math.huge, 0
  for _, list in ipairs(lists) do
    for _, row in ipairs(list) do
      if not known[row] then rows[#rows + 1], known[row] = row, true end
    end
  end
  table.sort(rows)
  for i = 2, #rows do
    smallest, largest = math.min(smallest, rows[i] - rows[i - 1]), math.max(largest, rows[i] - rows[i - 1])
  end
  return {
    node = node, rows = #rows, smallest = smallest, largest = largest,
    class = smallest <= 1 and "recoverable" or smallest == 2 and "borderline" or "infeasible",
  }
end

--- What each node can tell: a list of { node, rows, smallest, largest (gap), class }. An attention node sees
-- the queries of one set and the keys of another: the rows of both. options.ranks: what each of so many
-- ranks can tell, that may play several roles (as the strategy deals them).
local function list_of(where, sets, options)
  options = check.options(where, options or {}, { "ranks" })
  check.kind(where, "sets", sets, "table")
  check.kind(where, "sets.compute", sets.compute, "table")
  check.kind(where, "sets.attention", sets.attention, "table")
  local seen, list, size = {}, {}, options.ranks
  local function see(node, rank, rows)
    if size then node = rank end
    if not seen[node] then
      seen[node] = { name = size and "rank " .. rank or node }
      list[#list + 1] = seen[node]
    end
    table.insert(seen[node], rows)
  end
  for i, rows in ipairs(sets.compute) do see("compute " .. i, i - 1, rows) end
  local nodes = roles.nodes(size or 1, #sets.attention, size and #sets.compute or 1)
  for j, row in ipairs(nodes) do
    for l, rank in ipairs(row) do
      for _, i in ipairs { j, l } do
        see(("attention (%d,%d)"):format(j, l), rank, sets.attention[i])
      end
    end
  end
  for i, lists in ipairs(list) do list[i] = exposure(lists.name, lists) end
  return list
end

function privacy.list(sets, options) return list_of("rshard.privacy", sets, options) end

--- One line about those whose text can be recovered; nil where there are none.
local function warning(list)
  local count, first = 0, nil
  for _, row in ipairs(list) do
    if row.class == "recoverable" then count, first = count + 1, first or row.node end
  end
  return first
    and ("RECOVERABLE: %d of %d see neighbouring rows, first of them %s"):format(count, #list, first)
end

--- The same as a table in text.
function privacy.report(sets, options)
  local lines = { ("%-20s %8s %8s %8s  %s"):format("node", "rows", "min gap", "max gap", "text") }
  local list = list_of("rshard.report", sets, options)
  for _, row in ipairs(list) do
    lines[#lines + 1] = ("%-20s %8d %8s %8s  %s"):format(row.node, row.rows,
      row.rows > 1 and row.smallest or "-", row.rows > 1 and row.largest or "-", row.class)
  end
  lines[#lines + 1] = warning(list)
  return table.concat(lines, "\n")
end

return privacy
