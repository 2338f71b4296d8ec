--- Whole MPI jobs that go wrong: they end, with the reason and a usable exit status.
local program = require "spec.support.program"

--- Runs the text on `ranks` ranks (nil: without a launcher); everything it wrote, and its status.
local function run(environment, ranks, text)
  local path = program.script('local mosaic = require "mosaic"\nlocal comm = mosaic.comm.world()\n' .. text)
  local result = program((ranks and "-n %d %s" or "%s%s"):format(ranks or "", path), { env = environment })
  os.remove(path)
  return result.out .. result.err, result.status
end

local mpi = os.execute "command -v mpirun >/dev/null 2>&1" == 0
local inside_job = os.getenv "OMPI_COMM_WORLD_SIZE" -- a job does not start another
local try = mpi and not inside_job and it or pending

describe("an MPI job", function()
  try("ends with 86 after MOSAIC_TIMEOUT, naming rank, operation and line", function()
    local text, status = run("MOSAIC_TIMEOUT=2", 2, [[
      if comm.rank == 1 then os.execute "sleep 8" end
      comm:all_reduce(mosaic.ones { 65536 })]])
    local report = "mosaic: rank 0/2 %([^)]+ pid %d+%): all_reduce f32 %[65536%] sum #0 from rank 1 "
      .. "not complete after 2%.0 s %([^)]+:4%)"
    assert(text:find(report), text)
    assert.equal(86, status)
  end)

  try("ends after MOSAIC_TIMEOUT where a rank asks with test", function()
    local text, status = run("MOSAIC_TIMEOUT=2", 2, [[
      if comm.rank == 1 then os.execute "sleep 8" end
      local request = comm:barrier { async = true }
      while not request:test() do end]])
    local report = "mosaic: rank 0/2 %([^)]+%): barrier #0 from rank 1 not complete after 2%.0 s %([^)]+:5%)"
    assert(text:find(report), text)
    assert.equal(86, status)
  end)

  try("ends when one rank raises an error while others wait for it", function()
    local text, status = run("", 2, [[
      if comm.rank == 1 then error "the cat is out" end
      comm:barrier()]])
    assert(text:find("the cat is out", 1, true), text)
    assert.equal(1, status)
  end)

  try("ends when one rank leaves early", function()
    local text, status = run("MOSAIC_TIMEOUT=2", 2, [[
      if comm.rank == 0 then comm:recv(mosaic.ones { 1 }, 1) end]])
    local report = "^mosaic: rank 0/2 %([^)]+%): recv f32 %[1%] from rank 1 not complete after 2%.0 s "
    assert(text:find(report), text)
    assert.equal(86, status)
  end)

  try("takes large messages in pieces", function()
    local text, status = run("MOSAIC_MPI_PIECE=10000", 2, [[
      local x = mosaic.arange(1, 100000)
      local y = comm:sendrecv(x, 1 - comm.rank, 1 - comm.rank)
      for i, v in ipairs(y:flat()) do assert(v == i) end
      print("fine", comm.rank)]])
    assert(text:find "fine%s0" and text:find "fine%s1", text)
    assert.equal(0, status)
  end)

  try("says so when the launcher belongs to another MPI", function()
    local text, status = run("OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_RANK=1", nil, "")
    local reason = "comm: the launcher started 4 ranks (OMPI_COMM_WORLD_SIZE), but MPI sees a world of 1"
    assert(text:find(reason, 1, true), text)
    assert.equal(1, status)
  end)

  it("says so when the plug-in cannot be opened", function()
    local environment = "OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=0 MOSAIC_MPI_LIB=/no/such/plugin.so"
    local text, status = run(environment, nil, "")
    assert(text:find("comm: MPI is not available here: /no/such/plugin.so: cannot open", 1, true), text)
    assert.equal(1, status)
  end)

  it("says so when the plug-in is of another version", function()
    local source, library = program.script "const long mosaic_mpi_plugin[2] = {1};", os.tmpname()
    assert.equal(0, program.shell(("cc -shared -x c -o %s %s"):format(library, source)).status)
    local environment = "OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=0 MOSAIC_MPI_LIB=" .. library
    local text, status = run(environment, nil, "")
    assert(text:find("comm: MPI: its plug-in is of another version of Mosaic", 1, true), text)
    assert.equal(1, status)
    os.remove(source)
    os.remove(library)
  end)
end)
