--- Runs the whole suite, leg by leg, and adds the legs up: the last line is `N passed, N failed`.
--
--   build/mosaic-lua scripts/run-specs.lua             all legs
--   build/mosaic-lua scripts/run-specs.lua --sanitize  for a sanitizer build: fewer legs, leaks reported
--   build/mosaic-lua scripts/run-specs.lua --cuda      the specs that say something about a CUDA device
--   build/mosaic-lua scripts/run-specs.lua --cuda [--ranks P] spec files or folders      these alone
--   build/mosaic-lua scripts/run-specs.lua [--sanitize] [--ranks P] spec files or folders
--
-- Legs: everything with the widest kernels this machine has, the numeric specs with the narrower ones,
-- and spec/mpi on 2 and on 4 MPI ranks. A test of several ranks passes when it passes on all of them.
-- With --cuda: spec/cuda, spec/cuda_mpi on 2 and on 4 ranks, and what holds on any device, with
-- MOSAIC_TEST_DEVICE as the default device (make test-cuda-emulated runs them without a GPU, and of the
-- last a quick part). Files of spec/cuda_mpi alone run on P ranks, by default 2, on a device each.
-- Legs run side by side, as many as there are cores; each is reported when it ends.
-- A leg that ends early (os.exit in a spec, a crash, a time-out) is a failure of its own.
local lfs = require "lfs"

local LIMIT = 1500 -- seconds for one leg
local STUCK = 30 -- MOSAIC_TIMEOUT of the ranks: a failed assertion must not keep the others waiting
local PROGRAM = arg[-1]:find "/" and arg[-1] or "build/mosaic-lua"
local WIDEST_FIRST = { "amx", "avx512", "avx2", "scalar" }
--- Folders whose specs say the same whatever the kernels.
local NOT_NUMERIC = {
  support = true, mpi = true, host = true, data = true, strategy = true, examples = true, cuda = true,
  cuda_mpi = true,
}
--- Specs that say nothing of a device, or that scripts/gpu-check runs apart; all others hold on every device.
local NOT_OF_DEVICES = {
  support = true, mpi = true, host = true, command = true, data = true, examples = true, cuda = true,
  cuda_mpi = true, ["cuda_spills_spec.lua"] = true, ["layers_spec.lua"] = true, ["public_spec.lua"] = true,
  ["reference_spec.lua"] = true,
}
--- Specs of devices that say the same in whatever order threads run.
local NOT_OF_LANES = {
  ["comm_spec.lua"] = true, ["device_spec.lua"] = true, ["transport_spec.lua"] = true,
  ["variants_spec.lua"] = true,
}
--- What AMX does otherwise than AVX-512: all other kernels are the same.
local OF_TILES = { "spec/attention", "spec/attention_spec.lua" }
--- Folders that take as long as all others together: they have a leg of their own.
local LONG = { strategy = true, nanotabpfn = true }
--- What emulated devices do in seconds, under sanitizers, too.
local QUICK = {
  "spec/tensor", "spec/optim", "spec/nn/layers_spec.lua", "spec/nn/module_spec.lua",
  "spec/attention_spec.lua", "spec/regressions/ranks_spec.lua", "spec/trace_spec.lua",
}

local function run(command)
  local pipe = io.popen(command .. " 2>&1")
  local text = pipe:read "*a"
  pipe:close()
  return text
end

--- Spec files and folders with specs in a folder (default: spec), without the excluded ones.
local function roots(excluded, place)
  local list = {}
  place = place or "spec"
  for name in lfs.dir(place) do
    local path = place .. "/" .. name
    local folder = lfs.attributes(path, "mode") == "directory" and name:sub(1, 1) ~= "."
    if (folder or name:find "_spec%.lua$") and not excluded[name] then list[#list + 1] = path end
  end
  table.sort(list)
  return list
end

local function usable_isas()
  local widest = run(PROGRAM .. " -v"):match "(%w+)%)%s*$"
  for i, name in ipairs(WIDEST_FIRST) do
    if name == widest then return { unpack(WIDEST_FIRST, i) } end
  end
  return { assert(widest, "no kernels? mosaic-lua -v does not say") }
end

local function single(isa, paths, brief)
  return { name = isa, isa = isa, roots = paths, brief = brief }
end

local function several(isa, ranks, paths, environment)
  return { name = ranks .. " ranks", isa = isa, ranks = ranks, roots = paths, environment = environment }
end

--- spec/cuda names its devices; others get theirs as the default.
local function on_device(name, isa, paths, environment)
  local leg = single(isa, paths, true)
  leg.name, leg.environment = name, environment
  return leg
end

--- Two legs of a leg: all roots but the excluded ones.
local function add_halves(list, leg, excluded)
  local long, others = {}, setmetatable({}, { __index = excluded })
  for folder in pairs(LONG) do long[#long + 1], others[folder] = "spec/" .. folder, true end
  list[#list + 1] = setmetatable({ roots = long, name = leg.name .. ", long" }, { __index = leg })
  list[#list + 1] = setmetatable({ roots = roots(others) }, { __index = leg })
end

--- What holds on every device.
local function add_common_legs(list, isa, device, environment, emulated)
  local leg = on_device("default device " .. device, isa, QUICK, environment)
  if emulated then list[#list + 1] = leg else add_halves(list, leg, NOT_OF_DEVICES) end
end

local function refuse(text, ...)
  io.stderr:write("run-specs: ", text:format(...), "\n")
  os.exit(2)
end

--- The device that is tested, whether it is emulated, and what tells specs of it.
local function tested()
  local device = os.getenv "MOSAIC_TEST_DEVICE" or "cuda"
  local emulated = (os.getenv "MOSAIC_CUDA_LIB" or ""):find("emulated", 1, true)
  return device, emulated, "MOSAIC_TEST_DEVICE=" .. device
end

--- Messages of some pieces, memory that is checked to its end.
local SMALL = " MOSAIC_CUDA_CACHE=0 MOSAIC_STAGING_PIECE=1000 MOSAIC_IPC_SLOT=1000"

--- What a file or folder wants of the device.
local function kind_of(path)
  path = path:gsub("^%./", ""):gsub("/+$", "")
  if path:find "^spec/cuda_mpi" then return "ranks" end
  if path:find "/attention_hopper_spec%.lua$" then return "hopper" end
  return (path == "spec/cuda" or path:find "^spec/cuda/") and "own" or "common"
end

--- A leg for each kind of what is asked for.
local function cuda_legs_of(isa, paths, ranks)
  local device, emulated, named = tested()
  local kinds, list = { own = {}, hopper = {}, ranks = {}, common = {} }, {}
  for _, path in ipairs(paths) do
    local kind = kind_of(path)
    if ranks and kind ~= "ranks" then refuse("--cuda runs %s on one rank, not on %d", path, ranks) end
    table.insert(kinds[kind], path)
  end
  local capability = emulated and " MOSAIC_EMULATED_CAPABILITY=90" or ""
  local devices = emulated and " MOSAIC_EMULATED_DEVICES=" .. (ranks or 2) or ""
  for _, leg in ipairs {
    on_device(device, isa, kinds.own, named .. " MOSAIC_CUDA_CACHE=0"),
    on_device(device .. ", capability 9.0", isa, kinds.hopper, named .. " MOSAIC_CUDA_CACHE=0" .. capability),
    on_device("default device " .. device, isa, kinds.common, ("%s MOSAIC_DEVICE=%s"):format(named, device)),
    several(isa, ranks or 2, kinds.ranks, named .. SMALL .. devices),
  } do
    if #leg.roots > 0 then list[#list + 1] = leg end
  end
  return list
end

local function cuda_legs(isa)
  local device, emulated, named = tested()
  local list = { on_device(device, isa, { "spec/cuda" }, named .. " MOSAIC_CUDA_CACHE=0") }
  for _, order in ipairs(emulated and { "forward", "reversed" } or {}) do
    list[#list + 1] = on_device(device .. ", capability 9.0, " .. order, isa,
      { "spec/cuda/attention_hopper_spec.lua" },
      ("%s MOSAIC_EMULATED_CAPABILITY=90 MOSAIC_EMULATED_ORDER=%s"):format(named, order))
  end
  add_common_legs(list, isa, device, ("%s MOSAIC_DEVICE=%s"):format(named, device), emulated)
  local small = named .. SMALL
  local all, messages = { "spec/cuda_mpi" }, { "spec/cuda_mpi/comm_spec.lua" }
  list[#list + 1] = several(isa, 2, all, small)
  list[#list + 1] = several(isa, 2, messages, small .. " MOSAIC_TRANSPORT=staged MOSAIC_STAGING_LIMIT=1")
  if not emulated then
    list[#list + 1] = several(isa, 4, all, named)
    return list
  end
  list[#list + 1] = several(isa, 2, all, small .. " MOSAIC_EMULATED_DEVICES=2") -- one for each rank
  list[#list + 1] = several(isa, 4, all, named .. " MOSAIC_EMULATED_DEVICES=3") -- two share one: both ways
  list[#list + 1] = on_device(device .. ", lanes in reverse", isa, roots(NOT_OF_LANES, "spec/cuda"),
    named .. " MOSAIC_EMULATED_ORDER=reversed") -- of kernels that the first leg has compiled
  return list
end

local function legs(options)
  local isas = usable_isas()
  if options.cuda and #options > 0 then return cuda_legs_of(isas[1], options, options.ranks) end
  if options.cuda then return cuda_legs(isas[1]) end
  if #options > 0 then
    return { options.ranks and several(isas[1], options.ranks, options) or single(isas[1], options) }
  end
  local elsewhere = { support = true, mpi = true, cuda = true, cuda_mpi = true }
  local list = {}
  add_halves(list, single(isas[1], nil, options.sanitize), elsewhere)
  for i = 2, options.sanitize and 1 or #isas do
    list[#list + 1] = single(isas[i], isas[i - 1] == "amx" and OF_TILES or roots(NOT_NUMERIC), true)
  end
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
run_legs(legs(options), options.sanitize, total)
print(("%d passed, %d failed"):format(total.passed, total.failed))
os.exit(total.failed == 0 and total.passed > 0 and 0 or 1)
