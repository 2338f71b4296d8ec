--- Keys and values of ranks on the same node are read in place: the same results, and nothing is copied.
local ffi = require "ffi"
local C = require "mosaic.ffi"
local cases = require "spec.support.contract_cases"
local check = require "mosaic.check"
local close = require "spec.support.close"
local contract = require "spec.support.contract"
local fails = require "spec.support.fails"
local lend = require "mosaic.comm.lend"
local mosaic = require "mosaic"

ffi.cdef [[
int setenv(const char *name, const char *value, int overwrite);
int unsetenv(const char *name);
int getpid(void);
]]

local world = mosaic.comm.world()
local last = world.size - 1
local NAMES = { "MOSAIC_SHARE_FROM", "MOSAIC_SHARE", "MOSAIC_NODE_SIZE", "MOSAIC_PACE" }
local before = {}
for _, name in ipairs(NAMES) do before[name] = os.getenv(name) end

--- All ranks, who have not looked at each other yet, in an environment of { NAME = value }.
local function new_comm(environment)
  for name, value in pairs(environment) do ffi.C.setenv(name, value, 1) end
  return world:split(0)
end

local function restore()
  for _, name in ipairs(NAMES) do
    if before[name] then ffi.C.setenv(name, before[name], 1) else ffi.C.unsetenv(name) end
  end
end

local function numbers(...) return mosaic.arange(1, select(1, ...) * select(2, ...)):to "f32":view { ... } end

--- Does every rank read the tensor of the last one in place?
local function reads_last(comm) return lend.between(comm, numbers(4, 3), 4)(last, 0) end

describe("neighbours on a node", function()
  after_each(restore)

  for _, size in ipairs { 1, 2, 1000 } do
    local MASKS = {}
    for _, name in ipairs { "none", "causal", "documents", "window", "prefix" } do
      MASKS[name] = cases.MASKS[name]
    end
    for _, strategy in ipairs { "ring", { "ring", directions = 2 },
      { "hierarchical", inter_node_strategy = "ring", intra_node_strategy = "ring" } } do
      local comm
      contract(function(title, body)
        it(("on nodes of %d, "):format(size) .. title, function()
          comm = new_comm { MOSAIC_SHARE_FROM = "0", MOSAIC_NODE_SIZE = tostring(size) }
          body()
        end)
      end, strategy, {
        lengths = { 0, 1, 13 }, ranks = { world.size }, masks = MASKS,
        run = function(_, body) return { body(comm) }, world.rank end,
      })
    end
  end

  it("hand over keys and values without a message", function()
    local comm = new_comm { MOSAIC_SHARE_FROM = "0" }
    local x = mosaic.randn { 1, 2, 400, 8, generator = mosaic.generator(comm.rank) }
    local before_it = comm:bytes_sent()
    mosaic.attend(x, x, x, { strategy = "ring", comm = comm })
    local received = comm:counters("sendrecv").bytes_received
    assert(received < 400 * 8 * 4, ("%d bytes received"):format(received))
    assert(comm:bytes_sent() - before_it > (comm.size - 1) * 2 * 2 * 400 * 8 * 4) -- what is lent counts
  end)

  it("see the lender's own memory, strided and offset", function()
    local comm = new_comm { MOSAIC_SHARE_FROM = "0" }
    assert.is_true(reads_last(comm))
    local x = numbers(9, 6)
    local function part(t) return t:t():narrow(-2, 3, 4) end -- (4, 9)
    if comm.rank == last then
      local c, others = mosaic.Tensor.blank(), {}
      check.call("mosaic_share_lend", c, ffi.new "int64_t[2]", x.c)
      local y = mosaic.Tensor.wrap(c)
      for rank = 0, last - 1 do others[#others + 1] = rank end
      local returned = lend.out(comm, { part(y), part(y) }, others, 40)
      comm:barrier()
      y:mul_(2) -- not what a lender may do, but so one sees whose memory it is
      comm:barrier()
      returned()
    else
      local tensors, give_back = lend.borrow(comm, { part(x), part(x) }, 4, last, 40)
      for _, y in ipairs(tensors) do close(y, part(x)) end
      comm:barrier()
      comm:barrier()
      for _, y in ipairs(tensors) do close(y, part(x) * 2) end
      give_back():wait()
    end
  end)

  it("lend nothing between nodes, on a paced wire, or where they are told not to", function()
    assert.is_false(reads_last(new_comm { MOSAIC_SHARE_FROM = "0", MOSAIC_NODE_SIZE = "1" }))
    restore()
    assert.is_false(reads_last(new_comm { MOSAIC_SHARE_FROM = "0", MOSAIC_SHARE = "off" }))
    restore()
    assert.is_false(reads_last(new_comm { MOSAIC_SHARE_FROM = "0", MOSAIC_PACE = "1:100" }))
    restore()
    assert.is_false(reads_last(new_comm { MOSAIC_SHARE_FROM = world.rank == 0 and "49" or "0" }))
    restore()
    assert.is_true(reads_last(new_comm { MOSAIC_SHARE_FROM = "48" }))
  end)

  it("refuse memory that was not lent", function()
    local out, number = mosaic.Tensor.blank(), ffi.new "int[1]"
    fails("share: nothing is mapped as number 4711", function()
      check.call("mosaic_share_borrow", out, 4711, ffi.new("int64_t[2]", 0, 8), C.MOSAIC_DTYPE_F32)
    end)
    local pid = ffi.C.getpid()
    fails(("share: /proc/%d/fd/99999: No such file or directory"):format(pid), function()
      check.call("mosaic_share_map", number, pid, 99999, 1)
    end)
  end)
end)
