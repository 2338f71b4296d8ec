--- mosaic-lua's main program, called by core/main.c: (host, arguments) -> exit status.
-- `host` has the few things that Lua cannot do (core/host/*.c); `arguments[0]` is the program.
local host, arguments = ...

--- Modules are loaded as source only: bytecode is never trusted.
package.loaders[2] = function(name)
  local path, tried = package.searchpath(name, package.path)
  if not path then return tried end
  local chunk, wrong = loadfile(path, "t")
  if chunk then return chunk end
  error(("error loading module '%s' from file '%s':\n\t%s"):format(name, path, wrong), 0)
end

local OK, USAGE = 0, 2

local options = require "mosaic.host.options"

local function refuse(text, hint)
  if (tonumber(os.getenv "OMPI_COMM_WORLD_RANK") or 0) > 0 then return USAGE end -- one rank says it
  host.write_error(("mosaic-lua: %s\n%s"):format(text, hint or "Try 'mosaic-lua --help'.\n"))
  return USAGE
end

--- Is the text "mosaic-lua 0.1.0, ..."? Loading the library is what takes the time here.
local function version()
  local loaded, C = pcall(require, "mosaic.ffi")
  local kernels = loaded and require("ffi").string(C.mosaic_isa()) or "no libmosaic.so"
  return ("mosaic-lua %s (%s, %s)"):format(host.version, jit.version, kernels)
end

local function main()
  local plan, wrong = options.parse(arguments)
  if not plan then return refuse(wrong) end
  if plan.help then
    io.write(options.usage)
    return OK
  end
  if plan.version then
    print(version())
    if not plan.script and #plan.steps == 0 and not plan.interactive then return OK end
  end
  local unusable = require "mosaic.environment".problem()
  if unusable then return refuse(unusable, "") end
  if plan.ranks then
    if os.getenv "OMPI_COMM_WORLD_RANK" then return refuse "-n: this is a rank of an MPI job already" end
    return require "mosaic.host.launch"(host, plan)
  end
  return require "mosaic.host.run"(host, plan, arguments)
end

return main()
