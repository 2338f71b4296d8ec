--- mosaic-lua --virtual P: the script on P coroutine ranks of this process, each with its own globals.
local report = require "mosaic.host.report"

local OK, ERROR, INTERRUPTED = 0, 1, 130

--- What rank's chunks see as their globals: the common ones, and their own changes.
local function environment()
  local env = setmetatable({}, { __index = _G })
  env._G = env
  return env
end

--- The first reason why a chunk cannot be run on any rank: a missing file, a syntax error.
local function find_fault(list)
  for _, loader in ipairs(list) do
    local chunk, wrong = loader(environment())
    if not chunk then return wrong end
  end
end

--- list: loaders of chunks; run_chunks(list, env) -> true, or false and the text with its traceback.
return function(host, size, list, run_chunks)
  local wrong = find_fault(list)
  if wrong then
    host.write_error(("mosaic-lua: %s\n"):format(wrong))
    return ERROR
  end
  local reported = false
  host.catch_interrupt(true)
  local ok, text = pcall(require "mosaic.comm".spawn, size, function(world)
    local fine, why = run_chunks(list, environment())
    if fine then return end
    reported = true
    host.write_error(report.prefixed(why, world.rank, size, host.host_name()))
    error({}, 0)
  end)
  local interrupted = host.catch_interrupt(false)
  if ok then return OK end
  local trace = package.loaded["mosaic.trace"]
  if trace then trace.leave() end
  if not reported then host.write_error(("mosaic-lua: %s\n"):format(text)) end
  return interrupted and INTERRUPTED or ERROR
end
