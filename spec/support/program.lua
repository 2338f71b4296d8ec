--- Runs mosaic-lua as a user would: `program("-n 2 script.lua", { stdin =, env = "A=1" })` returns
-- { status =, out =, err =, seconds =, busy = }; busy: seconds of a processor, which do not depend on what
-- else the machine does. The command is a shell's; `script(text)` writes a file for it.
local ffi = require "ffi"

ffi.cdef [[
struct mosaic_spec_time { long seconds, nanoseconds; };
struct mosaic_spec_usage { long user[2], system[2], more[14]; };
int getrusage(int who, struct mosaic_spec_usage *usage);
int clock_gettime(int clock, struct mosaic_spec_time *time);
long readlink(const char *path, char *text, size_t room);
]]

--- The program that runs this, or where busted is another's the one beside the library.
local function find_program()
  local text = ffi.new "char[4096]"
  local path = ffi.string(text, ffi.C.readlink("/proc/self/exe", text, 4096))
  if path:find "/mosaic%-lua$" then return path end
  return (os.getenv "MOSAIC_LIB" or "build/libmosaic.so"):match "^(.*/)" .. "mosaic-lua"
end

local function now()
  local time = ffi.new "struct mosaic_spec_time"
  ffi.C.clock_gettime(1, time)
  return tonumber(time.seconds) + 1e-9 * tonumber(time.nanoseconds)
end

--- Seconds of a processor that children took which have ended.
local function busy()
  local usage = ffi.new "struct mosaic_spec_usage"
  ffi.C.getrusage(-1, usage)
  return tonumber(usage.user[0] + usage.system[0]) + 1e-6 * tonumber(usage.user[1] + usage.system[1])
end

local function take(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  os.remove(path)
  return text
end

local program = { path = find_program() }

--- A temporary Lua file with the text; its path. The caller removes it.
function program.script(text)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  return path
end

--- Shell commands that wait until a shell's condition holds, or for a minute. What happens meanwhile in
-- other processes takes as long as it takes.
function program.await(condition)
  return ("for try in $(seq 600); do if %s; then break; fi; sleep 0.1; done"):format(condition)
end

--- Runs a shell command; status is the exit status.
function program.shell(command, options)
  local out, err, input = os.tmpname(), os.tmpname(), program.script(options and options.stdin or "")
  local start, before = now(), busy()
  local status = os.execute(("{ %s; } <%s >%s 2>%s"):format(command, input, out, err))
  os.remove(input)
  local result = { status = status / 256, seconds = now() - start, busy = busy() - before }
  result.out, result.err = take(out), take(err)
  return result
end

return setmetatable(program, {
  __call = function(_, arguments, options)
    local env = options and options.env or ""
    return program.shell(("env %s %s %s"):format(env, program.path, arguments), options)
  end,
})
