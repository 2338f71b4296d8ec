--- mosaic-lua --virtual P: the script on P coroutine ranks of this process, each with its own globals.
local report = require "mosaic.host.report"

local ERROR = 1

--- What rank's chunks see as their globals: the common ones, and their own changes.
local function environment(arg)
  local env = setmetatable({ arg = arg }, { __index = _G })
  env._G = env
  return env
end

return function(host, size, run_chunks, arg)
  local comm = require "mosaic.comm"
  local failed = false
  _G.arg = arg
  local ok, text = pcall(comm.spawn, size, function(world)
    local fine, why = run_chunks(environment(arg))
    if fine then return end
    failed = true
    host.write_error(report.prefixed(why, world.rank, size, host.host_name()))
    error("", 0)
  end)
  if not ok and not failed then host.write_error(("mosaic-lua: %s\n"):format(text)) end
  return ok and 0 or ERROR
end
