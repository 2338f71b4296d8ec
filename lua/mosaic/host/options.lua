--- The command line: `options.parse(arguments)` -> plan, or nil and what is wrong with it.
--
--   plan = { steps = { {"e", chunk}, {"l", name}, ... }, compiler = { command, ... },
--            script = path or nil, first = index of the script, ranks = P, virtual = P,
--            interactive =, version =, help =, device = name or nil, trace = path or nil,
--            rest = arguments without -n P }
local options = {}

local MOST_RANKS = 65536

options.usage = [==[
usage: mosaic-lua [options] [script [arguments]]
       mosaic-lua [options] verify [--help]     compare a strategy with the one-rank answer
       mosaic-lua [options] doctor              what this job runs on, and which ranks share a node
       mosaic-lua trace FILE                    joins what a failed job under mpirun left of its trace
  -e CHUNK        run the string CHUNK
  -l NAME         require the module NAME
  -i              a prompt after the script
  -j COMMAND      LuaJIT's compiler: on, off, flush, or its modules, such as v and dump=+rs,FILE
  -n P            P processes, started and supervised through mpirun
  --virtual P     P ranks as coroutines of this process
  --device NAME   where tensors are made: cpu (default), cuda (each rank's own GPU), cuda:1
  --trace FILE    what the ranks did when, for ui.perfetto.dev
  -v, --version   print the versions
  -h, --help      print this
  --              no options follow
  -               run standard input
Without a script and with a terminal: a prompt. `mosaic` is loaded at the prompt and in -e.
Environment: MOSAIC_THREADS (threads per rank), MOSAIC_TIMEOUT (seconds until a stuck collective ends
the job, default 300), MOSAIC_ISA (scalar, avx2, avx512, amx, neon), MOSAIC_DEVICE (see --device),
MOSAIC_TRACE (see --trace), MOSAIC_MPIRUN (another mpirun), MOSAIC_NODE_SIZE (so many ranks count as a
node), MOSAIC_MEMORY_LIMIT (bytes that tensors on the CPU may take), MOSAIC_PACE (latency:bandwidth: a
slower wire between ranks, in microseconds and Gbit/s, to try out what one costs), MOSAIC_SHARE (auto, all,
copies, off: what ranks of a node read in place), MOSAIC_SHARE_FROM (bytes from which it is worth that),
MOSAIC_MPI_PIECE (bytes that MPI moves at once).
On GPUs: MOSAIC_TF32 (1: f32 matrices are multiplied in TF32), MOSAIC_ATTENTION (auto, small, hopper,
tensor, plain: its kernels), MOSAIC_TRANSPORT (auto, nccl, ipc, staged: how tensors travel),
MOSAIC_CUDA_LIB (another plug-in), MOSAIC_NCCL_LIB (another libnccl.so.2), MOSAIC_CACHE (folder of compiled
kernels, default ~/.cache/mosaic), MOSAIC_CUDA_CACHE (0: freed memory is not kept), MOSAIC_STAGING_LIMIT and
MOSAIC_STAGING_PIECE (bytes of pinned memory for messages, in all and of a piece), MOSAIC_IPC_SLOT (bytes of
a buffer between two processes on a GPU).
Exit status: 0 done, 1 an error in Lua, 2 a wrong command line or a device that cannot be used, 86 a
collective that timed out.
]==]

local function step(kind)
  return function(plan, value) plan.steps[#plan.steps + 1] = { kind, value } end
end

local function compiler(plan, value) plan.compiler[#plan.compiler + 1] = value end

local function text(name)
  return function(plan, value) plan[name] = value end
end

local function flag(name)
  return function(plan) plan[name] = true end
end

local function count(name)
  return function(plan, value, option)
    local ranks = tonumber(value)
    if not ranks or ranks % 1 ~= 0 or ranks < 1 or ranks > MOST_RANKS then
      return ("%s: expected a number of ranks, 1 to %d, got '%s'"):format(option, MOST_RANKS, value)
    end
    plan[name] = ranks
  end
end

--- What each option does, and whether a value follows it.
local known = {
  ["-e"] = { step "e", value = "a chunk" }, ["-l"] = { step "l", value = "a module name" },
  ["-j"] = { compiler, value = "a command" },
  ["-n"] = { count "ranks", value = "a number of ranks" },
  ["--virtual"] = { count "virtual", value = "a number of ranks" },
  ["--device"] = { text "device", value = "a device's name" },
  ["--trace"] = { text "trace", value = "a file's name" },
  ["-i"] = { flag "interactive" }, ["-v"] = { flag "version" }, ["--version"] = { flag "version" },
  ["-h"] = { flag "help" }, ["--help"] = { flag "help" },
}

local function names()
  local list = {}
  for name in pairs(known) do list[#list + 1] = name end
  table.sort(list)
  return list
end

--- "-e" and "x" of "-ex", "--virtual" and "4" of "--virtual=4"; else the word itself.
local function split(word)
  local name, value = word:match "^(%-%-[^=]+)=(.*)$"
  if name then return name, value end
  name, value = word:match "^(%-[ejln])(.+)$"
  return name or word, value
end

local function unknown(word)
  local near = require "mosaic.nearest"(word, names())
  return ("unknown option '%s'%s"):format(word, near and (", did you mean '%s'?"):format(near) or "")
end

--- Reads the option at index i; returns the index after it, or nil and a message.
local function read_option(plan, arguments, i)
  local name, value = split(arguments[i])
  local option = known[name]
  if not option or (value and not option.value) then return nil, unknown(arguments[i]) end
  local last = i
  if option.value and not value then
    last, value = i + 1, arguments[i + 1]
    if not value then return nil, ("%s: %s is missing"):format(name, option.value) end
  end
  local wrong = option[1](plan, value, name)
  if wrong then return nil, wrong end
  if name ~= "-n" then
    for k = i, last do plan.rest[#plan.rest + 1] = arguments[k] end
  end
  return last + 1
end

local function contradiction(plan)
  local several = plan.ranks and "-n" or plan.virtual and "--virtual"
  if plan.ranks and plan.virtual then return "-n and --virtual exclude each other" end
  if several and plan.interactive then return several .. ": the prompt has one rank only, leave out -i" end
  if several and plan.script == "-" then
    return several .. ": a script on standard input runs on one rank only, name a file"
  end
  if several and (not plan.script and #plan.steps == 0 and not plan.help) then
    return several .. ": a script (or -e) is missing"
  end
end

function options.parse(arguments)
  local plan = { steps = {}, compiler = {}, rest = {} }
  local i = 1
  while arguments[i] and arguments[i]:sub(1, 1) == "-" and arguments[i] ~= "-" do
    if arguments[i] == "--" then
      i = i + 1
      break
    end
    local after, wrong = read_option(plan, arguments, i)
    if not after then return nil, wrong end
    i = after
  end
  plan.script, plan.first = arguments[i], i
  plan.rest[#plan.rest + 1] = "--"
  for k = i, #arguments do plan.rest[#plan.rest + 1] = arguments[k] end
  local wrong = contradiction(plan)
  if wrong then return nil, wrong end
  return plan
end

return options
