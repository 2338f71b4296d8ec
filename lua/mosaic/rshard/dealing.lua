--- Clusters of rows dealt to compute nodes, and to the sets of attention nodes; what they mean: init.lua.
local check = require "mosaic.check"

local dealing = {}

--- How a dealing assigns rows: row -> compute node, row -> set of the attention nodes, alpha, beta.
function dealing.rule(where, tokens)
  check.options(where, tokens, { "cluster", "period", "group" })
  local cluster = check.integer(where, "cluster", tokens.cluster, 1)
  local period = check.integer(where, "period", tokens.period, cluster)
  local alpha = math.ceil(period / cluster)
  local group = math.min(check.integer(where, "group", tokens.group or 2, 1), alpha)
  local function node_of(row) return math.floor((row - 1) % period / cluster) + 1 end
  local function set_of(row)
    local u = (row - 1) % period % cluster
    return math.floor((node_of(row) - 1) / group) * cluster + u + 1
  end
  return node_of, set_of, alpha, cluster * math.ceil(alpha / group)
end

--- The rows in as many lists.
function dealing.lists(rows, count, owner_of)
  local lists = {}
  for i = 1, count do lists[i] = {} end
  for _, row in ipairs(rows) do table.insert(lists[owner_of(row)], row) end
  return lists
end

return dealing
