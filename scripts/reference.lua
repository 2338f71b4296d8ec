--- Compares this build with reference values: `mosaic-lua scripts/reference.lua FOLDER`.
--
-- Every case of every safetensors file in FOLDER runs on the CPU in f64 and f32, locally, through the ring
-- on 1, 2, 3 and 5 virtual ranks, and through every other exact strategy, forward and backward. One line a
-- case: the largest error and its bound, both as shares of the tensor's largest value, for the comparison
-- that came nearest to its bound. Exit status 0 only when every bound holds. Cases are told by the names of
-- their tensors (cases.lua), their parameters come from the file's metadata.
local here = arg[0]:match "^(.*)reference%.lua$" or "scripts/"
package.path = table.concat({ here .. "?.lua", here .. "../?.lua", here .. "../examples/?.lua",
  here .. "../lua/?.lua", here .. "../lua/?/init.lua", package.path }, ";")

local cases = require "reference.cases"
local strategies = require "reference.strategies"

local folder = arg[1]
if not folder then
  io.stderr:write "usage: mosaic-lua scripts/reference.lua FOLDER\n"
  os.exit(2)
end

--- "f64 1.1e-15 of 1.0e-10 (dq, ring 3)"
local function describe(dtype, worst)
  return ("%s %.1e of %.1e (%s)"):format(dtype, worst.error, worst.bound, worst.where)
end

--- Runs one case: the text of its line, and whether it passed or failed.
local function judge(case)
  local run = require("reference." .. case.kind)
  local ok, result = xpcall(run, debug.traceback, case)
  if not ok then
    io.stderr:write(result, "\n")
    return "error: " .. result:match "^[^\n]*", "failed"
  end
  local fine = result.f64.ratio <= 1 and result.f32.ratio <= 1
  return ("%-46s %-46s %s"):format(describe("f64", result.f64), describe("f32", result.f32),
    fine and "ok" or "FAILED"), fine and "passed" or "failed"
end

local names = { "local", "ring" }
for _, strategy in ipairs(strategies) do names[#names + 1] = strategy.name end
print("strategies: " .. table.concat(names, ", "))

local counts = { passed = 0, failed = 0 }
local list, problems = cases.find(folder)
for _, case in ipairs(list) do
  local text, outcome = judge(case)
  counts[outcome] = counts[outcome] + 1
  print(("%-34s %s"):format(case.title, text))
  io.stdout:flush()
end
for _, problem in ipairs(problems) do
  counts.failed = counts.failed + 1
  print(problem)
end
print(("%d within bounds, %d failed"):format(counts.passed, counts.failed))
os.exit(counts.failed == 0 and counts.passed > 0 and 0 or 1, true) -- closed, so that nothing counts as lost
