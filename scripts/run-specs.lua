--- Runs the whole suite, leg by leg, and adds the legs up: the last line is `N passed, N failed`.
--
--   build/mosaic-lua scripts/run-specs.lua             all legs
--   build/mosaic-lua scripts/run-specs.lua --sanitize  for a sanitizer build: fewer legs, leaks reported
--   build/mosaic-lua scripts/run-specs.lua --cuda      the specs that say something about a CUDA device
--   build/mosaic-lua scripts/run-specs.lua --cuda [--ranks P] spec files or folders      these alone
--   build/mosaic-lua scripts/run-specs.lua [--sanitize] [--ranks P] spec files or folders
--
-- Legs (spec-legs.lua): everything with the widest kernels this machine has, the numeric specs with the
-- narrower ones, and spec/mpi on 2 and on 4 MPI ranks. With --cuda: spec/cuda, spec/cuda_mpi on 2 and on 4
-- ranks, and what holds on any device, with MOSAIC_TEST_DEVICE as the default device (make
-- test-cuda-emulated runs them without a GPU, and of the last a quick part). Files of spec/cuda_mpi alone run
-- on P ranks, by default 2, on a device each.
-- Legs run side by side, as many as there are cores; each is reported when it ends. A test of several ranks
-- passes when it passes on all of them. A leg that ends early (os.exit in a spec, a crash, a time-out) is a
-- failure of its own.
package.path = "scripts/?.lua;" .. package.path
local legs_of = require "spec-legs"

local LIMIT = 1500 -- seconds for one leg
local STUCK = 30 -- MOSAIC_TIMEOUT of the ranks: a failed assertion must not keep the others waiting
local PROGRAM = arg[-1]:find "/" and arg[-1] or "build/mosaic-lua"
local WIDEST_FIRST = { "amx", "avx512", "avx2", "scalar" }

local function run(command)
  local pipe = io.popen(command .. " 2>&1")
  local text = pipe:read "*a"
  pipe:close()
  return text
end

local function usable_isas()
  local widest = run(PROGRAM .. " -v"):match "(%w+)%)%s*$"
  for i, name in ipairs(WIDEST_FIRST) do
    if name == widest then return { unpack(WIDEST_FIRST, i) } end
  end
  return { assert(widest, "no kernels? mosaic-lua -v does not say") }
end

local function refuse(text, ...)
  io.stderr:write("run-specs: ", text:format(...), "\n")
  os.exit(2)
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

--- Open MPI keeps memory to its end on purpose; what Mosaic loses is an error. Sanitizers up to gcc 13 take
-- some thread-local blocks for those of an old glibc, and their leak check crashes on it: not intercepted.
local SANITIZERS = "ASAN_OPTIONS=detect_leaks=1:intercept_tls_get_addr=0 "
  .. "LSAN_OPTIONS=suppressions=spec/support/leaks.txt:print_suppressions=0 UBSAN_OPTIONS=print_stacktrace=1 "

local function command_of(leg, results, sanitize)
  local environment = ("%s%s MOSAIC_ISA=%s MOSAIC_RESULTS=%s"):format(
    sanitize and SANITIZERS or "", leg.environment or "", leg.isa, results)
  local ranks = ""
  if leg.brief then environment = environment .. " MOSAIC_SPECS=brief" end
  if leg.ranks then
    environment, ranks = ("%s MOSAIC_TIMEOUT=%d"):format(environment, STUCK), "-n " .. leg.ranks
  end
  return ("%s timeout --foreground -k 5 %d %s %s scripts/busted.lua %s"):format(environment, LIMIT, PROGRAM,
    ranks, table.concat(leg.roots, " "))
end

--- Runs legs, as many at a time as there are cores; each leaves its log, and its status and seconds. Calls
-- ended(leg) after each.
local function run_side_by_side(list, sanitize, ended)
  local commands, path = {}, os.tmpname()
  for n, leg in ipairs(list) do
    leg.results = os.tmpname()
    commands[n] = ("s=$(date +%%s); %s >%s.log 2>&1; echo $? $(($(date +%%s)-s)) >%s.status; echo %d"):format(
      command_of(leg, leg.results, sanitize), leg.results, leg.results, n)
  end
  local file = assert(io.open(path, "w"))
  file:write(table.concat(commands, "\0"))
  file:close()
  local pipe = io.popen(("xargs -0 -P %d -n 1 sh -c < %s"):format(run "nproc", path))
  for n in pipe:lines() do ended(list[tonumber(n)]) end
  pipe:close()
  os.remove(path)
end

local function read_text(path)
  local file = io.open(path)
  if not file then return "" end
  local text = file:read "*a"
  file:close()
  return text
end

local function forget(leg)
  for _, ending in ipairs { "", ".log", ".status" } do os.remove(leg.results .. ending) end
  for rank = 1, leg.ranks or 1 do os.remove(("%s.%d"):format(leg.results, rank - 1)) end
end

--- Adds up what a leg says.
local function report(leg, total)
  local status, seconds = read_text(leg.results .. ".status"):match "(%d+) (%d+)"
  local all, finished = {}, true
  print("== " .. leg.name)
  io.write(read_text(leg.results .. ".log"))
  for rank = 1, leg.ranks or 1 do
    all[rank] = read_results(("%s.%d"):format(leg.results, rank - 1))
    finished = finished and all[rank].finished
  end
  forget(leg)
  local before = { passed = total.passed, failed = total.failed }
  if leg.ranks then add_ranks(all, total) else add_single(all[1], total) end
  if not finished then
    fail(total, "the leg " .. leg.name, ("ended before its summary, status %s"):format(status))
  elseif status ~= "0" and total.failed == before.failed then
    fail(total, "the leg " .. leg.name, ("all tests passed, yet its status is %s"):format(status))
  end
  print(("   %d passed, %d failed, %s s"):format(total.passed - before.passed, total.failed - before.failed,
    seconds))
  io.flush()
end

local function run_legs(list, sanitize, total)
  local names = {}
  for n, leg in ipairs(list) do names[n] = leg.name end
  print("legs: " .. table.concat(names, "; "))
  run_side_by_side(list, sanitize, function(leg) report(leg, total) end)
end

local function read_options(words)
  local options = {}
  while words[1] do
    local word = table.remove(words, 1)
    if word == "--sanitize" or word == "--cuda" then
      options[word:sub(3)] = true
    elseif word == "--ranks" then
      options.ranks = tonumber(table.remove(words, 1)) or refuse "--ranks wants a number"
    elseif word:find "^%-" then
      refuse("there is no option %s: expected --cuda, --sanitize or --ranks P", word)
    else
      options[#options + 1] = word
    end
  end
  if options.ranks and #options == 0 then refuse "--ranks wants spec files or folders" end
  return options
end

local options = read_options { unpack(arg) }
local total = { passed = 0, failed = 0 }
local legs, wrong = legs_of(usable_isas(), options)
run_legs(legs or refuse("%s", wrong), options.sanitize, total)
print(("%d passed, %d failed"):format(total.passed, total.failed))
os.exit(total.failed == 0 and total.passed > 0 and 0 or 1)
