local program = require "spec.support.program"

-- A sanitized library cannot be loaded by a stock luajit, and make would build it anew without.
if os.getenv "ASAN_OPTIONS" then return end

describe("make install", function()
  local folder

  setup(function()
    folder = program.shell("mktemp -d").out:match "%S+"
    local build = program.path:match "^(.*)/mosaic%-lua$"
    local result = program.shell(("make -s install BUILD=%s DESTDIR=%s PREFIX=/usr/local"):format(
      build, folder))
    assert.equal(0, result.status, result.err)
  end)

  teardown(function() program.shell("rm -r " .. folder) end)

  local function installed(command)
    return program.shell(("cd / && env -u MOSAIC_LIB -u LUA_PATH %s"):format(
      command:gsub("ROOT", folder .. "/usr/local")))
  end

  it("gives a program that finds its sources and its library", function()
    local result = installed "ROOT/bin/mosaic-lua -e 'print(mosaic.ones(2, 2):numel())'"
    assert.same({ "4\n", "" }, { result.out, result.err })
    assert.matches(folder, installed("ROOT/bin/mosaic-lua -e 'error(package.path)'").err)
  end)

  it("gives ranks that find MPI from any folder", function()
    local result = installed "ROOT/bin/mosaic-lua -n 2 -e 'print(mosaic.comm.world().transport)'"
    assert.same({ "mpi\nmpi\n", "" }, { result.out, result.err })
  end)

  it("makes require \"mosaic\" work in a plain luajit", function()
    local path = "LUA_PATH='ROOT/share/lua/5.1/?.lua;ROOT/share/lua/5.1/?/init.lua'"
    local result = installed(path .. [[ luajit -e 'print(require("mosaic").zeros(3):numel())']])
    assert.same({ "3\n", "" }, { result.out, result.err })
  end)

  it("describes the C library to pkg-config", function()
    local result = installed "PKG_CONFIG_PATH=ROOT/lib/pkgconfig pkg-config --libs --cflags mosaic"
    assert.equal("-I/usr/local/include -L/usr/local/lib -lmosaic", (result.out:gsub("%s+$", "")))
  end)

  it("is undone by make uninstall", function()
    local copy = program.shell("mktemp -d").out:match "%S+"
    program.shell(("cp -r %s/. %s && make -s uninstall DESTDIR=%s PREFIX=/usr/local"):format(
      folder, copy, copy))
    local left = program.shell(("cd %s && find . -type f; rm -r %s"):format(copy, copy)).out
    assert.equal("", left)
  end)
end)
