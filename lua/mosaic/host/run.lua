--- Runs what the command line names on this rank: -l and -e steps, the script, the prompt.
local report = require "mosaic.host.report"
local world = require "mosaic.host.world"

local OK, ERROR, USAGE, INTERRUPTED = 0, 1, 2, 130
local PATIENCE = 250 -- ms that a failing rank leaves to others for reports of their own

--- The standard `arg`: the script at 0, its arguments from 1, what came before at -1 and below.
local function arg_table(plan, arguments)
  local arg = {}
  for i = 0, #arguments do arg[i - plan.first] = arguments[i] end
  return arg
end

--- A script's path; a word that is no file but a command of ours (lua/mosaic/command) means that.
local function script_path(path)
  local file = not path:find "[^%w_]" and io.open(path)
  if file then file:close() end
  local command = not file and not path:find "[^%w_]"
    and package.searchpath("mosaic.command." .. path, package.path)
  return command or path
end

--- What is to be run, in order, as { loader, ... }: each loader returns a chunk, or nil and a message.
local function chunks(host, plan)
  local list = {}
  for _, step in ipairs(plan.steps) do
    local kind, text = step[1], step[2]
    list[#list + 1] = kind == "e" and function(env) return load(text, "=(command line)", "t", env) end
      or function() return load(("require %q"):format(text), "=(command line)", "t") end
  end
  local path = plan.script
  local piped = not path and #plan.steps == 0 and not plan.interactive and not host.terminal(0)
  if path == "-" or piped then path = nil elseif not path then return list end
  path = path and script_path(path)
  list[#list + 1] = function(env) return loadfile(path, "t", env) end
  return list
end

--- The environment variable, if it says anything.
local function setting(name)
  local value = os.getenv(name)
  return value ~= "" and value or nil
end

--- Runs all chunks in the environment; true, or false and the text with its traceback.
local function run_chunks(list, env, arg)
  for _, loader in ipairs(list) do
    local chunk, wrong = loader(env)
    if not chunk then return false, wrong end
    local ok, text = xpcall(chunk, report.traceback, unpack(arg, 1, #arg))
    if not ok then return false, text end
  end
  return true
end

--- os.exit runs before() first.
local function before_exit(before)
  local exit = os.exit
  rawset(os, "exit", function(...)
    pcall(before)
    exit(...)
  end)
end

--- The same, traced into a file if there is one.
local function run_traced(path, list, env, arg)
  if not path then return run_chunks(list, env, arg) end
  local started, finish = pcall(require "mosaic.trace".start, path)
  if not started then return false, finish end
  before_exit(function() finish(true) end)
  local ok, text = run_chunks(list, env, arg)
  local written, why = pcall(finish, not ok) -- a file that cannot be written is nobody's line
  return ok and written, text or why
end

--- `mosaic` as a global for -e, loaded when first used.
local function preload_mosaic()
  setmetatable(_G, { __index = function(_, name)
    if name ~= "mosaic" then return nil end
    setmetatable(_G, nil)
    _G.mosaic = require "mosaic"
    return _G.mosaic
  end })
end

--- An error on one rank ends the job: through MPI once that is in use, else mpirun sees the status.
local function leave(host, status, size)
  local comm = package.loaded["mosaic.comm"]
  if size > 1 then
    host.sleep(PATIENCE)
    if comm and comm.abort then comm.abort(status) end
  end
  return status
end

local function fail(host, text, place, status)
  if place.size == 1 then
    host.write_error(("mosaic-lua: %s\n"):format(text))
  else
    local mark = os.getenv "MOSAIC_LAUNCHED" and report.MARK
    host.write_error(report.prefixed(text, place.rank, place.size, host.host_name(), mark))
  end
  return leave(host, status, place.size)
end

local function run_here(host, plan, arg, place)
  local prompt = plan.interactive or (not plan.script and #plan.steps == 0 and host.terminal(0))
  host.catch_interrupt(place.size == 1)
  local ok, text = run_traced(plan.trace, chunks(host, plan), _G, arg)
  local interrupted = host.catch_interrupt(false)
  if not ok then
    return fail(host, text, place, interrupted and INTERRUPTED or ERROR)
  end
  return prompt and require "mosaic.host.repl"(host) or OK
end

--- Hands each -j on to LuaJIT; returns why it cannot.
local function steer_compiler(plan)
  for _, command in ipairs(plan.compiler) do
    local wrong = require "mosaic.host.compiler"(command)
    if wrong then return wrong end
  end
end

--- Makes the device that was asked for the default one; returns why it cannot.
local function choose_device(plan)
  local name = plan.device or setting "MOSAIC_DEVICE"
  if not name then return nil end
  local full, wrong = require "mosaic.device".find(name)
  if not full then return ("%s: %s"):format(plan.device and "--device" or "MOSAIC_DEVICE", wrong) end
  require "mosaic.state".current.device = full
end

return function(host, plan, arguments)
  local place, wrong, foreign_rank = world.find()
  if not place then
    if foreign_rank == 0 then host.write_error(("mosaic-lua: %s\n"):format(wrong)) end
    return ERROR
  end
  local arg, refused = arg_table(plan, arguments), steer_compiler(plan) or choose_device(plan)
  if refused then return fail(host, refused, place, USAGE) end
  _G.arg, plan.trace = arg, plan.trace or setting "MOSAIC_TRACE"
  if #plan.steps > 0 then preload_mosaic() end
  if not plan.virtual then return run_here(host, plan, arg, place) end
  return require "mosaic.host.virtual"(host, plan.virtual, chunks(host, plan), function(list, env)
    return run_traced(plan.trace, list, env, arg)
  end)
end
