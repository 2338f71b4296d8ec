local program = require "spec.support.program"

-- Sanitizers come as libraries that no bundle takes along.
if os.getenv "ASAN_OPTIONS" then return end

describe("make bundle", function()
  local folder

  setup(function()
    if program.shell("command -v patchelf").status ~= 0 then return end
    folder = program.shell("mktemp -d").out:match "%S+"
    local build = program.path:match "^(.*)/mosaic%-lua$"
    local make = ("env -u MAKEFLAGS make -s bundle BUILD=%s MPI="):format(build)
    local result = program.shell(make .. "0")
    assert.equal(0, result.status, result.err)
    local tar = result.out:match "(%S+%.tar%.gz): "
    assert.is_nil(tar:find "mpi")
    assert.matches("MPI=yes: expected 1", program.shell(make .. "yes").err)
    assert.equal(0, program.shell(make .. "1 -n").status)
    local other = tar:gsub("%.tar", "-mpi%0")
    assert.equal(0, program.shell(("test -e %s && test ! -e %s"):format(tar, other)).status)
    assert.equal(0, program.shell(("tar -xzf %s --strip-components=1 -C %s"):format(tar, folder)).status)
  end)

  teardown(function() if folder then program.shell("rm -r " .. folder) end end)

  --- Runs a command of the unpacked bundle, from elsewhere and with nothing in the environment.
  local function bundled(command)
    if not folder then pending "patchelf is missing: scripts/setup --dev installs it" end
    return program.shell(("cd / && env -i PATH=/usr/bin:/bin %s"):format((command:gsub("ROOT", folder))))
  end

  it("gives a program that runs anywhere, with LuaJIT inside", function()
    local result = bundled "ROOT/bin/mosaic-lua -e 'print(mosaic.ones(2, 2):numel())'"
    assert.same({ "4\n", "" }, { result.out, result.err })
    assert.is_nil(bundled("ldd ROOT/bin/mosaic-lua").out:find "luajit")
  end)

  it("brings every library but libc's and CUDA's", function()
    local result = bundled "find ROOT/lib -name '*.so*' ! -name libmosaic_mpi.so -exec ldd {} +"
    local from_machine = {
      ["libc.so.6"] = true, ["libm.so.6"] = true, ["libgcc_s.so.1"] = true,
      ["librt.so.1"] = true, ["libdl.so.2"] = true, ["libpthread.so.0"] = true, -- libc's, for CUDA's
    }
    local own = {}
    for name, path in result.out:gmatch "(%S+) => (%S+)" do
      if path:find(folder, 1, true) then
        own[name] = true
      elseif not name:find "^libcu" and not name:find "^libnv" then
        assert.truthy(from_machine[name], name .. " is not in the bundle: " .. path)
      end
    end
    assert.truthy(own["libgfortran.so.5"])
  end)

  it("runs specs with a busted of its own", function()
    local where = [[-e "print(package.searchpath(\"busted\", package.path))"]]
    local result = bundled(("sh -c 'cd ROOT && bin/mosaic-lua %s scripts/busted.lua %s'"):format(
      where, "spec/mesh_spec.lua"))
    assert.equal("", result.err)
    assert.equal(folder .. "/share/lua/5.1/busted.lua", result.out:match "^[^\n]+")
    assert.matches("[1-9]%d* passed, 0 failed\n$", result.out)
  end)

  it("takes MPI from the machine", function()
    local result = bundled "ROOT/bin/mosaic-lua -n 2 -e 'print(mosaic.comm.world().transport)'"
    assert.same({ "mpi\nmpi\n", "" }, { result.out, result.err })
  end)

  it("names whose work is inside", function()
    local names = bundled("ls ROOT/licenses").out
    for _, name in ipairs { "libopenblas", "libgfortran", "luajit", "lua%-busted" } do
      assert.matches(name, names)
    end
  end)
end)
