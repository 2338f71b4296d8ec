local program = require "spec.support.program"

local RANK = "os.getenv 'OMPI_COMM_WORLD_RANK'"

--- A rank that never ends, and says that it is there by making the file PATH.RANK.
local ENDLESS = ("io.open('%%s.' .. %s, 'w'):close()\nwhile true do end"):format(RANK)

--- Runs the text on `ranks` ranks; SCRIPT's path is the second result.
local function launch(ranks, text, options)
  local path = program.script(text)
  local result = program(("-n %d %s"):format(ranks, path), options)
  os.remove(path)
  return result, path
end

local function sorted_lines(text)
  local lines = {}
  for line in text:gmatch "[^\n]+" do lines[#lines + 1] = line end
  table.sort(lines)
  return lines
end

--- Processes with the words in their command line.
local function alive(words)
  local count = 0
  for pid in program.shell("ls /proc").out:gmatch "%d+" do
    local file = io.open(("/proc/%s/cmdline"):format(pid), "rb")
    local command = file and (file:read "*a" or ""):gsub("%z", " ") or ""
    if file then file:close() end
    if command:find(words, 1, true) then count = count + 1 end
  end
  return count
end

--- Starts two ranks of the text, of which each makes a file, and sends `signal` when both are there.
local function interrupt(path, marks, signal)
  local there = program.await(("[ -e %s.0 -a -e %s.1 ]"):format(marks, marks))
  local job = ("%s -n 2 %s & %s; kill -%s $!; wait $!"):format(program.path, path, there, signal)
  local result = program.shell(job)
  for _, mark in ipairs { path, marks, marks .. ".0", marks .. ".1" } do os.remove(mark) end
  return result
end

describe("mosaic-lua -n", function()
  it("starts that many ranks, more than cores too, with the threads shared out", function()
    local text = "print(%s, os.getenv 'OMPI_COMM_WORLD_SIZE', os.getenv 'MOSAIC_THREADS')"
    local result = launch(3, text:format(RANK), { env = "MOSAIC_THREADS=5" })
    assert.equal(0, result.status)
    assert.same({ "0\t3\t5", "1\t3\t5", "2\t3\t5" }, sorted_lines(result.out))
    assert.equal("", result.err)
  end)

  it("passes options, arguments and standard input on", function()
    local path = program.script(("if %s == '0' then print(x, ..., io.read '*a') end"):format(RANK))
    local result = program(("-e 'x = 1' -n 2 %s 'a b'"):format(path), { stdin = "typed" })
    os.remove(path)
    assert.equal("1\ta b\ttyped\n", result.out)
  end)

  it("says that a file is no terminal", function()
    local result = launch(2, [[print(require "mosaic.terminal".columns(), os.getenv "MOSAIC_TTY")]])
    assert.same({ "nil\t0:0", "nil\t0:0" }, sorted_lines(result.out))
  end)

  it("prints an error that all ranks make once", function()
    local result, path = launch(4, "\nerror 'boom'")
    local prefix = result.err:match "^%[ranks 0%-3/4 [^%]]+%] "
    assert(prefix, result.err)
    assert.equal(1, result.status)
    assert.equal(table.concat({ path .. ":2: boom", "stack traceback:", "\t[C]: in function 'error'",
      "\t" .. path .. ":2: in main chunk" }, "\n" .. prefix), (result.err:sub(#prefix + 1, -2)))
  end)

  it("ends the job when one rank fails, and says which", function()
    local result, path = launch(2, ("if %s == '1' then error 'boom' end\nwhile true do end"):format(RANK))
    assert.equal(1, result.status)
    assert.equal(path .. ":1: boom", result.err:match "^%[rank 1/2 [^%]]+%] ([^\n]*)")
    assert.is_nil(result.err:find("mpirun", 1, true))
    assert(result.seconds < 60, "took " .. result.seconds)
    assert.equal(0, alive(path))
  end)

  it("passes an exit status and mpirun's word about it on", function()
    local result = launch(2, "os.exit(86)")
    assert.equal(86, result.status)
    assert.matches("non%-zero", result.err)
  end)

  for name, status in pairs { TERM = 143, INT = 130, HUP = 129 } do
    it(("ends everything on SIG%s, a rank's own children too"):format(name), function()
      local child = "sleep 61." .. program.shell("echo $$").out:match "%d+" -- nobody else has such a one
      local marks = os.tmpname()
      local text = ("if %s == '1' then os.execute '%s &' end\n"):format(RANK, child)
      local path = program.script(text .. ENDLESS:format(marks))
      assert.equal(status, interrupt(path, marks, name).status)
      assert.equal(0, alive(path))
      assert.equal(0, alive(child))
    end)
  end

  it("leaves no rank behind when it is killed itself", function()
    local marks = os.tmpname()
    local path = program.script(ENDLESS:format(marks))
    interrupt(path, marks, "KILL")
    for _ = 1, 600 do -- they notice it
      if alive(path) == 0 then return end
      program.shell "sleep 0.1"
    end
    error(("%d are left"):format(alive(path)))
  end)

  it("says what is missing without mpirun", function()
    local result = launch(2, "", { env = "MOSAIC_MPIRUN=no-such-mpirun" })
    assert.equal(127, result.status)
    assert.equal("mosaic-lua: cannot start no-such-mpirun: No such file or directory\n"
      .. "mosaic-lua: -n needs Open MPI's mpirun (on Debian: package openmpi-bin)\n", result.err)
  end)

  it("is refused inside a running job", function()
    local result = program("-n 2 x.lua", { env = "OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=2" })
    assert.equal(2, result.status)
    assert.matches("^mosaic%-lua: %-n: this is a rank of an MPI job already\n", result.err)
  end)

  it("is not needed: plain mpirun starts the same script", function()
    local path = program.script(("error('rank ' .. %s)"):format(RANK))
    local result = program.shell(("OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 "
      .. "PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe mpirun --oversubscribe -n 2 %s %s"):format(
      program.path, path))
    os.remove(path)
    assert.equal(1, result.status)
    assert.matches("%[rank 0/2 [^%]]+%] " .. path .. ":1: rank 0\n", result.err)
    assert.matches("%[rank 1/2 [^%]]+%] " .. path .. ":1: rank 1\n", result.err)
  end)
end)
