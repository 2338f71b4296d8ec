--- Runs a function on symbols once for every way through its comparisons, and joins what it returns.
--
-- Each run answers the comparisons as a list of outcomes says, and true after its end; the others
-- follow from there. So `and`, `or`, `if`, early returns and loops with known ends need nothing special.
local check = require "mosaic.check"
local symbol = require "mosaic.program.symbol"

local MOST_PATHS, MOST_COMPARISONS = 256, 256

local paths = {}

--- The run that gives the comparisons the outcomes in `prefix`:
-- { conditions = nodes, outcomes, valid = node: are all lookups of this path inside their tables? }
local function new_path(graph, prefix)
  return { prefix = prefix, conditions = {}, outcomes = {}, known = {}, valid = graph:constant(1) }
end

--- True or false for a condition; the same one gets the same answer throughout a run.
local function decide(trace, node)
  if node.op == "constant" then return node.value ~= 0 end
  local path = trace.path
  if path.known[node.id] ~= nil then return path.known[node.id] end
  local n = #path.conditions + 1
  if n > MOST_COMPARISONS then
    check.fail("%s makes more than %d comparisons on one way through: the end of a loop must not depend on "
      .. "its arguments", trace.where, MOST_COMPARISONS)
  end
  local outcome = path.prefix[n]
  if outcome == nil then outcome = true end
  path.conditions[n], path.outcomes[n], path.known[node.id] = node, outcome, outcome
  return outcome
end

local function expect(trace, node)
  trace.path.valid = trace.graph:node("and", trace.path.valid, node)
end

--- Outcomes 1 .. n - 1 of a path, and then the other one.
local function turned(path, n)
  local prefix = {}
  for i = 1, n - 1 do prefix[i] = path.outcomes[i] end
  prefix[n] = false
  return prefix
end

--- Everything behind a prefix: what run() returns and whether lookups are valid, as nodes.
local function explore(trace, run, prefix)
  trace.count = trace.count + 1
  if trace.count > MOST_PATHS then
    check.fail("%s has more than %d ways through its comparisons: let it return early, or use min, max and "
      .. "tables", trace.where, MOST_PATHS)
  end
  local graph, path = trace.graph, new_path(trace.graph, prefix)
  trace.path = path
  local result, valid = run(), path.valid
  for n = #path.conditions, #prefix + 1, -1 do
    local other, other_valid = explore(trace, run, turned(path, n))
    result = graph:node("select", path.conditions[n], result, other)
    valid = graph:node("select", path.conditions[n], valid, other_valid)
  end
  return result, valid
end

local serial = 0

--- run() -> node is called once for each path; it computes with symbols. Returns result, valid.
function paths.explore(where, graph, run)
  serial = serial + 1
  local trace = { where = where, serial = serial, graph = graph, count = 0 }
  trace.decide = function(node) return decide(trace, node) end
  trace.expect = function(node) expect(trace, node) end
  symbol.trace = trace
  local ok, result, valid = pcall(explore, trace, run, {})
  symbol.trace = nil
  if not ok then error(result, 0) end
  return result, valid
end

return paths
