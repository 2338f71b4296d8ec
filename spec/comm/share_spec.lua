--- Whole jobs whose ranks read each other's keys and values in place.
local program = require "spec.support.program"

--- What the text prints on `ranks` ranks, and its status; attend(rows, seed) gives out, dq, dk and dv.
local function run(environment, ranks, text)
  local path = program.script([[
    local mosaic = require "mosaic"
    local comm = mosaic.comm.world()
    local function attend(rows, seed)
      local x = {}
      for i = 1, 3 do
        local generator = mosaic.generator(10 * seed + comm.rank + 4 * i)
        x[i] = mosaic.randn { 1, 2, rows, 16, generator = generator }:requires_grad_()
      end
      local out = mosaic.attend(x[1], x[2], x[3], { strategy = "ring", comm = comm })
      out:backward(out:detach())
      return { out:detach(), x[1].grad, x[2].grad, x[3].grad }
    end
    ]] .. text)
  local result = program(("-n %d %s"):format(ranks, path), { env = environment })
  os.remove(path)
  return result.out .. result.err, result.status
end

local mpi = os.execute "command -v mpirun >/dev/null 2>&1" == 0
local try = mpi and not os.getenv "OMPI_COMM_WORLD_SIZE" and it or pending

describe("memory that is lent", function()
  local HEAD = [[
    local ffi, mosaic = require "ffi", require "mosaic"
    local check, C = require "mosaic.check", require "mosaic.ffi"
    ffi.cdef "int fork(void); int waitpid(int, int *, int); int close(int); void _exit(int);"
    local which, place = ffi.new "int64_t[3]", ffi.new "int64_t[2]"
    check.call("mosaic_share_open", which, which + 1, which + 2)
    local function lent(a)
      local out = mosaic.Tensor.blank()
      check.call("mosaic_share_lend", out, place, a.c)
      return mosaic.Tensor.wrap(out)
    end
    ]]

  local function said(kind, text)
    local path = program.script(HEAD .. text)
    local result = program(path, { env = "MOSAIC_SHARE=" .. kind })
    os.remove(path)
    assert.equal("", result.err)
    return result.out
  end

  -- The file's blocks are counted, so that no other memory of the process matters.
  for _, kind in ipairs { "copies", "all" } do
    it("counts as cached once freed, and goes back to the system when trimmed: " .. kind, function()
      local text = said(kind, [[
        local function pages()
          local command = ("stat -L -c %%b /proc/%d/fd/%d"):format(tonumber(which[0]), tonumber(which[1]))
          local pipe = io.popen(command)
          local blocks = pipe:read "*n"
          pipe:close()
          return blocks * 512
        end
        local a = mosaic.ones { 2 ^ 22 }
        mosaic.collect()
        local b = lent(a)
        local cached, full = mosaic.memory().cached_bytes, pages()
        b:free()
        print(full >= 2 ^ 24, mosaic.memory().cached_bytes - cached >= 2 ^ 24)
        C.mosaic_memory_trim()
        print(pages() <= 2 ^ 22, mosaic.memory().cached_bytes < 2 ^ 24)
        local c = lent(mosaic.full({ 2 ^ 22 }, 3))
        print(c:sum():item() == 3 * 2 ^ 22)]])
      assert.equal("true\ttrue\ntrue\ttrue\ntrue\n", text)
    end)
  end

  it("is not a child's to write to", function()
    assert.equal("true\t5\n", said("copies", [[
      local b = lent(mosaic.full({ 1000 }, 5))
      io.flush()
      local child, status = ffi.C.fork(), ffi.new "int[1]"
      if child == 0 then
        ffi.C.close(2)
        b:copy_(mosaic.full({ 1000 }, 7))
        ffi.C._exit(0)
      end
      ffi.C.waitpid(child, status, 0)
      print(status[0] ~= 0, b:max():item())]]))
  end)
end)

describe("a job whose ranks read in place", function()
  try("gives the bits of one that sends, with blocks freed, trimmed and used again", function()
    local text = [[
      for round = 1, 6 do
        local found = { comm.rank }
        for _, x in ipairs(attend(({ 3000, 70, 800 })[round % 3 + 1], round)) do
          found[#found + 1] = ("%.17g %.17g"):format(x:to "f64":sum():item(), x:abs():max():item())
        end
        if round % 2 == 0 then mosaic.collect() require "mosaic.ffi".mosaic_memory_trim() end
        for rank = 0, 1 do
          if rank == comm.rank then print("result " .. table.concat(found, " ")) io.flush() end
          comm:barrier()
        end
      end]]
    local function lines(kind)
      local found, status = run("MOSAIC_SHARE_FROM=1 MOSAIC_SHARE=" .. kind, 2, text)
      assert.equal(0, status, found)
      local list = {}
      for line in found:gmatch "result ([^\n]+)" do list[#list + 1] = line end
      table.sort(list)
      return list
    end
    local sent = lines "off"
    assert.equal(12, #sent)
    assert.same(sent, lines "copies")
    assert.same(sent, lines "all")
  end)

  try("holds less: no block that arrives, and no copy of its own where all memory can be read", function()
    local text = [[
      jit.off() -- a trace would keep the first closures that it runs, and with them tensors
      local function peak()
        local x = {}
        for i = 1, 3 do x[i] = mosaic.ones { 1, 2, 4096, 16 } end
        mosaic.collect()
        mosaic.reset_peak_memory()
        local out = mosaic.no_grad(mosaic.attend, x[1], x[2], x[3], { strategy = "ring", comm = comm })
        for _, t in ipairs { out, unpack(x) } do t:free() end
        return mosaic.memory().peak_bytes
      end
      peak()
      local bytes = peak()
      if comm.rank == 0 then print(("peak %g"):format(bytes / (2 * 4096 * 16 * 4))) end]]
    local function units(kind)
      local found = run("MOSAIC_SHARE=" .. kind, 4, text)
      return tonumber(found:match "peak ([%d.]+)") or error(found)
    end
    local sent, copied, lent = units "off", units "copies", units "all"
    assert(copied <= sent - 1.9, ("%g, sent %g"):format(copied, sent)) -- a block of k and v is 2
    assert(lent <= copied - 1.9, ("%g, copied %g"):format(lent, copied))
  end)

  try("ends after MOSAIC_TIMEOUT where a rank does not give back", function()
    local text, status = run("MOSAIC_TIMEOUT=2 MOSAIC_SHARE_FROM=1", 2, [[
      if comm.rank == 1 then
        require "mosaic.nearby".close = function() os.execute "sleep 8" end
      end
      attend(100, 1)]])
    local report = "mosaic: rank 0/2 %([^)]+%): sendrecv u8 %[0%] .-from rank 1 not complete after 2%.0 s"
    assert(text:find(report), text)
    assert.equal(86, status)
  end)

  try("ends when a rank dies that has lent", function()
    local _, status = run("MOSAIC_TIMEOUT=5 MOSAIC_SHARE_FROM=1", 2, [[
      local Nearby = require "mosaic.nearby"
      if comm.rank == 1 then Nearby.close = function() os.execute "kill -9 $PPID" end end
      attend(3000, 1)]])
    assert.is_true(status ~= 0)
  end)
end)
