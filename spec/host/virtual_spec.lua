local program = require "spec.support.program"

--- Runs the text on virtual ranks; SCRIPT's path is the second result.
local function spawn(ranks, text, arguments, environment)
  local path = program.script(text)
  local result = program(("--virtual %d %s %s"):format(ranks, path, arguments or ""), { env = environment })
  os.remove(path)
  return result, path
end

describe("mosaic-lua --virtual", function()
  it("gives every rank its own globals and the script's arguments", function()
    local result = spawn(3, [[
      local world = require "mosaic.comm".world()
      seen = (seen or 10) + world.rank
      _G.also = (also or 0) + 1
      print(world.rank, world.size, seen, also, arg[1], ...)]], "x")
    assert.equal("0\t3\t10\t1\tx\tx\n1\t3\t11\t1\tx\tx\n2\t3\t12\t1\tx\tx\n", result.out)
    assert.same({ 0, "" }, { result.status, result.err })
  end)

  it("lets ranks exchange values", function()
    local result = spawn(4, [[
      local mosaic, world = require "mosaic", require "mosaic.comm".world()
      local sum = world:all_reduce(mosaic.full({ 1 }, world.rank + 1))
      if world.rank == 3 then print(sum:get(1)) end]])
    assert.equal("10\n", result.out)
  end)

  it("ends with the rank, the position and the traceback of an error", function()
    local result, path = spawn(3, [[
      if require "mosaic.comm".world().rank == 1 then error "boom" end]])
    assert.equal(1, result.status)
    local prefix = result.err:match "^%[rank 1/3 [^%]]+%] "
    assert.equal(table.concat({ path .. ":1: boom", "stack traceback:", "\t[C]: in function 'error'",
      "\t" .. path .. ":1: in main chunk" }, "\n" .. prefix), (result.err:sub(#prefix + 1, -2)))
  end)

  it("ends with 1 and who waits for whom after a deadlock", function()
    local result, path = spawn(2, [[
      local mosaic, world = require "mosaic", require "mosaic.comm".world()
      if world.rank == 1 then world:recv(mosaic.zeros(2), 0) end]])
    assert.equal(1, result.status)
    assert.equal(("mosaic-lua: deadlock: rank 1 waits for recv f32 [2] from rank 0 (%s:2); "
      .. "rank 0 has finished\n"):format(path), result.err)
  end)

  it("ends with 1 where a rank asks with test for longer than MOSAIC_TIMEOUT", function()
    local result, path = spawn(2, [[
      local mosaic, world = require "mosaic", require "mosaic.comm".world()
      if world.rank == 1 then world:send(mosaic.zeros(1), 0) else
        local request = world:recv(mosaic.zeros(1), 1, { async = true })
        while not request:test() do end -- comes, late or soon
        request = world:recv(mosaic.zeros(2), 1, { async = true })
        while not request:test() do end
      end]], nil, "MOSAIC_TIMEOUT=1")
    assert.equal(1, result.status)
    local text = ("%s:6: recv f32 [2] from rank 1 not complete after 1.0 s (MOSAIC_TIMEOUT)"):format(path)
    assert(result.err:find(text, 1, true), result.err)
    assert(result.seconds < 60, "took " .. result.seconds)
  end)

  it("says once what is wrong with the script itself", function()
    local result = program "--virtual 3 nowhere.lua"
    assert.equal(1, result.status)
    assert.equal("mosaic-lua: cannot open nowhere.lua: No such file or directory\n", result.err)
  end)

  it("has mosaic at hand in -e", function()
    assert.equal("2\n2\n", program("--virtual 2 -e 'print(mosaic.ones(2):numel())'").out)
  end)
end)
