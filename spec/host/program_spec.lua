local program = require "spec.support.program"

--- Runs mosaic-lua on a script with this text; SCRIPT in the arguments stands for its path.
local function run(text, arguments, options)
  local path = program.script(text)
  local result = program(((arguments or "SCRIPT"):gsub("SCRIPT", path)), options)
  os.remove(path)
  return result, path
end

describe("mosaic-lua", function()
  it("runs -l, -e and the script in order, with arg as in lua", function()
    local result, path = run("print(s, arg[0], arg[1], arg[2], #arg, arg[-1], ...)",
      "-l mosaic.nearest -e 's = require \"mosaic.nearest\"(\"ab\", {\"abc\"})' SCRIPT one 'two words'")
    assert.equal("", result.err)
    assert.equal(("abc\t%s\tone\ttwo words\t2\t%s\tone\ttwo words\n"):format(path,
      "s = require \"mosaic.nearest\"(\"ab\", {\"abc\"})"), result.out)
    assert.equal(0, result.status)
  end)

  it("lets finalizers of others have tensors to the end", function()
    local text = [[
      local first = newproxy(true)
      local mosaic = require "mosaic"
      local t, kept = mosaic.ones { 3 }, {}
      getmetatable(first).__gc = function() t:free() end
      getmetatable(newproxy(true)).__gc = function() print(pcall(t.flat, t)) end
      local ffi = require "ffi"
      for i = 1, 50 do kept[i] = ffi.gc(ffi.new "int[1]", function() pcall(t.flat, t) end) end
      _G.kept = { first, kept } ]]
    local result, path = run(text)
    assert.equal("", result.err)
    assert.equal(("false\t%s:5: read: an operand is not a tensor, or was freed\n"):format(path), result.out)
    assert.equal(0, result.status)
  end)

  it("reads a script from standard input", function()
    assert.equal("7\n", program("", { stdin = "print(3 + 4)" }).out)
    assert.equal("a\n", program("- a", { stdin = "print(...)" }).out)
  end)

  it("has mosaic at hand in -e, and only there", function()
    assert.equal("6\n", program("-e 'print(mosaic.arange(1, 6):numel())'").out)
    assert.equal("nil\n", (run "print(mosaic)").out)
  end)

  it("ends with 1, the position and a traceback after an error", function()
    local result, path = run "local function f() error 'boom' end\n\nf()"
    assert.equal(1, result.status)
    assert.equal(("mosaic-lua: %s:1: boom\nstack traceback:\n\t[C]: in function 'error'\n"
      .. "\t%s:1: in function 'f'\n\t%s:3: in main chunk\n"):format(path, path, path), result.err)
  end)

  it("names the line of a wrong call, not one inside the library", function()
    local result, path = run "local mosaic = require 'mosaic'\nmosaic.zeros(2):size(0)"
    assert.equal(1, result.status)
    assert.equal(("mosaic-lua: %s:2: size: axis 0 does not exist: axes count from 1, or from -1 backwards")
      :format(path), result.err:match "[^\n]*")
  end)

  it("steers LuaJIT's compiler", function()
    assert.equal("false\n", (run("print((jit.status()))", "-j off SCRIPT")).out)
    assert.equal("true\n", (run("print((jit.status()))", "-joff -jon SCRIPT")).out)
    local folder = program.shell("mktemp -d").out:gsub("\n", "")
    local files = { env = ("LUA_PATH='%s/?.lua'"):format(folder) }
    program.shell(("mkdir %s/jit && echo 'return { start = print }' >%s/jit/own.lua"):format(folder, folder))
    assert.equal("a\tb=c\n6\n", program("-j own=a,b=c -e 'print(6)'", files).out)
    program.shell("rm -r " .. folder)
    local result = program "-j of -e ''"
    assert.equal(2, result.status)
    assert.equal("mosaic-lua: -j: expected on, off, flush or a module of LuaJIT's that is installed, "
      .. "got 'of'\n", result.err)
  end)

  it("shows error objects", function()
    assert.matches("^mosaic%-lua: %(error object is a table value%)\n", (run "error {}").err)
    assert.matches("^mosaic%-lua: text\n",
      (run "error(setmetatable({}, { __tostring = function() return 'text' end }))").err)
  end)

  it("ends with 1 for a file that is missing or does not parse", function()
    local result = program "nowhere.lua"
    assert.equal(1, result.status)
    assert.equal("mosaic-lua: cannot open nowhere.lua: No such file or directory\n", result.err)
    local path
    result, path = run "x = = 1"
    assert.equal(("mosaic-lua: %s:1: unexpected symbol near '='\n"):format(path), result.err)
  end)

  it("says where it looked for a module, and opens no prompt after an error", function()
    local result = program "-l nomod -e ''"
    assert.equal(1, result.status)
    assert.matches("^mosaic%-lua: %(command line%):1: module 'nomod' not found:\n\tno field", result.err)
    result = program("-i nowhere.lua", { stdin = "print 'alive'" })
    assert.same({ 1, "" }, { result.status, result.out })
  end)

  it("says what ends a loop that is compiled and does not see Ctrl-C", function()
    local mark, err = os.tmpname(), os.tmpname()
    os.remove(mark)
    local path = program.script(("io.open('%s', 'w'):close()\nwhile true do end"):format(mark))
    local result = program.shell(("env --default-signal=INT %s %s 2>%s & %s; sleep 0.5; kill -INT $!; "
      .. "%s; kill -INT $!; wait $!"):format(program.path, path, err, program.await("[ -e " .. mark .. " ]"),
      program.await("[ -s " .. err .. " ]")))
    local text = io.open(err):read "*a"
    for _, name in ipairs { mark, err, path } do os.remove(name) end
    assert.equal(130, result.status)
    assert.equal("mosaic-lua: still at work, Ctrl-C again ends mosaic-lua at once\n", text)
  end)

  it("passes the status of os.exit on", function()
    assert.equal(7, run("os.exit(7)").status)
    assert.equal(0, run("os.exit(true)").status)
  end)

  it("ends with 2 and a suggestion for a wrong command line", function()
    local result = program "--verison"
    assert.equal(2, result.status)
    assert.equal("mosaic-lua: unknown option '--verison', did you mean '--version'?\n"
      .. "Try 'mosaic-lua --help'.\n", result.err)
  end)

  it("refuses bytecode, as a script and as a module", function()
    local result = run(string.dump(function() print "ran" end, true))
    assert.equal(1, result.status)
    assert.matches("attempt to load chunk with wrong mode", result.err)
    local folder = os.tmpname()
    os.remove(folder)
    result = program.shell(("mkdir %s && luajit -b -e 'return 1' %s/compiled.lua && "
      .. "env LUA_PATH='%s/?.lua' %s -l compiled; status=$?; rm -r %s; exit $status"):format(
      folder, folder, folder, program.path, folder))
    assert.matches("attempt to load chunk with wrong mode", result.err)
  end)

  it("prints its usage and its versions", function()
    local result = program "--help"
    assert.equal(0, result.status)
    assert.matches("^usage: mosaic%-lua %[options%] %[script %[arguments%]%]\n", result.out)
    assert.matches("^mosaic%-lua %d+%.%d+%.%d+ %(LuaJIT 2%.1%S*, %w+%)\n$", program("--version").out)
  end)

  it("starts in less than 20 ms of a processor", function()
    if os.getenv "ASAN_OPTIONS" then return end
    local least = math.huge
    for _ = 1, 10 do least = math.min(least, program("-e ''").busy) end
    assert(least < 0.020, ("took %.1f ms"):format(1000 * least)) -- with the shell's: 4
  end)

  it("explains a job that a foreign launcher started", function()
    local result = run("print 'ran'", "SCRIPT", { env = "PMI_RANK=0 PMI_SIZE=4" })
    assert.equal(1, result.status)
    assert.matches("was started as one of 4 ranks by MPICH's mpirun", result.err)
    result = run("print 'ran'", "SCRIPT", { env = "PMI_RANK=1 PMI_SIZE=4" })
    assert.same({ 1, "", "" }, { result.status, result.out, result.err })
  end)

  it("knows its rank from srun, where that speaks PMIx", function()
    local result = run("error 'boom'", "SCRIPT", {
      env = "SLURM_PROCID=3 SLURM_STEP_NUM_TASKS=4 PMIX_RANK=3",
    })
    assert.equal(1, result.status)
    assert.matches("^%[rank 3/4 [^%]]+%] .-boom\n", result.err)
  end)
end)
