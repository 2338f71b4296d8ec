--- Runs the whole suite, leg by leg, and adds the legs up: the last line is `N passed, N failed`.
--
--   build/mosaic-lua scripts/run-specs.lua             all legs
--   build/mosaic-lua scripts/run-specs.lua --sanitize  for a sanitizer build: fewer legs, leaks reported
--   build/mosaic-lua scripts/run-specs.lua [--ranks P] spec files or folders
--
-- Legs: everything with the widest kernels this machine has, the numeric specs with the narrower ones,
-- and spec/mpi on 2 and on 4 MPI ranks. A test of several ranks passes when it passes on all of them.
-- A leg that ends early (os.exit in a spec, a crash, a time-out) is a failure of its own.
local lfs = require "lfs"

local LIMIT = 900 -- seconds for one leg
local STUCK = 30 -- MOSAIC_TIMEOUT of the ranks: a failed assertion must not keep the others waiting
local PROGRAM = arg[-1]:find "/" and arg[-1] or "build/mosaic-lua"
local WIDEST_FIRST = { "avx512", "avx2", "scalar" }
--- Folders whose specs say the same whatever the kernels.
local NOT_NUMERIC = {
  support = true, mpi = true, host = true, data = true, strategy = true, examples = true,
}

local function run(command)
  local pipe = io.popen(command .. " 2>&1")
  local text = pipe:read "*a"
  pipe:close()
  return text
end

--- Spec files and folders with specs in spec/, without the excluded folders.
local function roots(excluded)
  local list = {}
  for name in lfs.dir "spec" do
    local path = "spec/" .. name
    local folder = lfs.attributes(path, "mode") == "directory" and name:sub(1, 1) ~= "."
    if folder and not excluded[name] or name:find "_spec%.lua$" then list[#list + 1] = path end
  end
  table.sort(list)
  return list
end

local function usable_isas()
  local widest = run(PROGRAM .. " -v"):match "(%w+)%)%s*$"
  for i, name in ipairs(WIDEST_FIRST) do
    if name == widest then return { unpack(WIDEST_FIRST, i) } end
  end
  error("no kernels? mosaic-lua -v says " .. tostring(widest))
end

local function single(isa, paths, brief)
  return { name = isa, isa = isa, roots = paths, brief = brief }
end

local function several(isa, ranks, paths)
  return { name = ranks .. " ranks", isa = isa, ranks = ranks, roots = paths }
end

local function legs(options)
  local isas = usable_isas()
  if #options > 0 then
    return { options.ranks and several(isas[1], options.ranks, options) or single(isas[1], options) }
  end
  local list = { single(isas[1], roots { support = true, mpi = true }, options.sanitize) }
  for i = 2, options.sanitize and 1 or #isas do list[i] = single(isas[i], roots(NOT_NUMERIC), true) end
  for _, ranks in ipairs(options.sanitize and { 2 } or { 2, 4 }) do
    list[#list + 1] = several(isas[1], ranks, { "spec/mpi" })
  end
  return list
end

local function unescape(text)
  return (text:gsub("\\(.)", { n = "\n", ["\\"] = "\\" }))
end

--- One rank's outcomes: { [name] = { outcome, message } }, order, finished.
local function read_results(path)
  local results, file = { order = {}, by_name = {} }, io.open(path)
  if not file then return results end
  for line in file:lines() do
    local outcome, name, message = line:match "^(%a+)\t([^\t]*)\t(.*)$"
    if outcome then
      local known = results.by_name[name]
      if not known then results.order[#results.order + 1] = name end
      -- the same name twice: a failure of either counts
      if not known or outcome == "fail" then results.by_name[name] = { outcome, unescape(message) } end
      results[outcome] = (results[outcome] or 0) + 1
    end
    results.finished = results.finished or line == "end"
  end
  file:close()
  os.remove(path)
  return results
end

local function fail(total, name, message)
  total.failed = total.failed + 1
  print(("  FAILED %s\n    %s"):format(unescape(name), (message:gsub("\n", "\n    "))))
end

--- Adds up a leg of one process.
local function add_single(results, total)
  total.passed = total.passed + (results.pass or 0)
  for _, name in ipairs(results.order) do
    local outcome, message = unpack(results.by_name[name])
    if outcome == "fail" then fail(total, name, message) end
    if outcome == "skip" then print("  skipped: " .. name) end
  end
end

--- Adds up what several ranks say about each test.
local function add_ranks(all, total)
  local names, seen = {}, {}
  for _, results in ipairs(all) do
    for _, name in ipairs(results.order) do
      if not seen[name] then names[#names + 1], seen[name] = name, true end
    end
  end
  for _, name in ipairs(names) do
    local wrong
    for rank, results in ipairs(all) do
      local entry = results.by_name[name] or { "fail", "no result: the rank ended before" }
      if entry[1] == "fail" and not wrong then
        wrong = ("fails on rank %d of %d: %s"):format(rank - 1, #all, entry[2])
      end
    end
    if wrong then fail(total, name, wrong) else total.passed = total.passed + 1 end
  end
end

--- Open MPI keeps memory to its end on purpose; what Mosaic loses is an error.
local SANITIZERS = "ASAN_OPTIONS=detect_leaks=1 LSAN_OPTIONS=suppressions=spec/support/leaks.txt:"
  .. "print_suppressions=0 UBSAN_OPTIONS=print_stacktrace=1 "

local function command_of(leg, results, sanitize)
  local environment = ("%sMOSAIC_ISA=%s MOSAIC_RESULTS=%s"):format(
    sanitize and SANITIZERS or "", leg.isa, results)
  local ranks = ""
  if leg.brief then environment = environment .. " MOSAIC_SPECS=brief" end
  if leg.ranks then
    environment, ranks = ("%s MOSAIC_TIMEOUT=%d"):format(environment, STUCK), "-n " .. leg.ranks
  end
  return ("%s timeout -k 5 %d %s %s scripts/busted.lua %s"):format(environment, LIMIT, PROGRAM, ranks,
    table.concat(leg.roots, " "))
end

local function run_leg(leg, total, sanitize)
  local path = os.tmpname()
  local started, before = os.time(), { passed = total.passed, failed = total.failed }
  print("== " .. leg.name)
  io.flush()
  local status = os.execute(command_of(leg, path, sanitize))
  local all, finished = {}, true
  for rank = 1, leg.ranks or 1 do
    all[rank] = read_results(("%s.%d"):format(path, rank - 1))
    finished = finished and all[rank].finished
  end
  os.remove(path)
  if leg.ranks then add_ranks(all, total) else add_single(all[1], total) end
  if not finished then
    fail(total, "the leg " .. leg.name, ("ended before its summary, status %d"):format(status / 256))
  elseif status ~= 0 and total.failed == before.failed then
    fail(total, "the leg " .. leg.name, ("all tests passed, yet its status is %d"):format(status / 256))
  end
  print(("   %d passed, %d failed, %d s"):format(total.passed - before.passed, total.failed - before.failed,
    os.time() - started))
end

local options, words = {}, { unpack(arg) }
while words[1] do
  local word = table.remove(words, 1)
  if word == "--sanitize" then
    options.sanitize = true
  elseif word == "--ranks" then
    options.ranks = tonumber(table.remove(words, 1))
  else
    options[#options + 1] = word
  end
end
local total = { passed = 0, failed = 0 }
for _, leg in ipairs(legs(options)) do run_leg(leg, total, options.sanitize) end
print(("%d passed, %d failed"):format(total.passed, total.failed))
os.exit(total.failed == 0 and total.passed > 0 and 0 or 1)
