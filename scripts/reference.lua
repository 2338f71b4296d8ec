--- Compares this build with reference values:
--
--   mosaic-lua scripts/reference.lua FOLDER [--device cuda] [--only TEXT]    TEXT: a part of cases' names
--
-- Every case of every safetensors file in FOLDER runs on the device (default: the CPU) in f64 and f32,
-- locally, through the ring on 1, 2, 3 and 5 virtual ranks, and through every other exact strategy, forward
-- and backward. One line a case: the largest error and its bound, both as shares of the tensor's largest
-- value, for the comparison that came nearest to its bound. Exit status 0 only when every bound holds. Cases
-- are told by the names of their tensors (cases.lua), their parameters come from the file's metadata.
local here = arg[0]:match "^(.*)reference%.lua$" or "scripts/"
package.path = table.concat({ here .. "?.lua", here .. "../?.lua", here .. "../examples/?.lua",
  here .. "../lua/?.lua", here .. "../lua/?/init.lua", package.path }, ";")

local mosaic = require "mosaic"
local cases = require "reference.cases"
local strategies = require "reference.strategies"

--- The command line: the folder, and options by their names.
local function read_arguments(words)
  if (words[1] or "-"):find "^%-" then return nil end
  local options, known = { only = "" }, { device = true, only = true }
  for i = 2, #words, 2 do
    local name = words[i]:match "^%-%-(%a+)$"
    if not known[name] or not words[i + 1] then return nil end
    options[name] = words[i + 1]
  end
  return words[1], options
end

local folder, options = read_arguments(arg)
if not folder then
  local help = arg[1] == "--help" or arg[1] == "-h"
  local out = help and io.stdout or io.stderr
  out:write "usage: mosaic-lua scripts/reference.lua FOLDER [--device NAME] [--only TEXT]\n"
  os.exit(help and 0 or 2)
end
if options.device then -- of all that is made from here on
  mosaic.set_default_device(options.device)
  print("device: " .. options.device)
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
  if case.title:find(options.only, 1, true) then
    local text, outcome = judge(case)
    counts[outcome] = counts[outcome] + 1
    print(("%-34s %s"):format(case.title, text))
    io.stdout:flush()
  end
end
for _, problem in ipairs(problems) do
  counts.failed = counts.failed + 1
  print(problem)
end
print(("%d within bounds, %d failed"):format(counts.passed, counts.failed))
os.exit(counts.failed == 0 and counts.passed > 0 and 0 or 1, true) -- closed, so that nothing counts as lost
