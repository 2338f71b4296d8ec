local ffi = require "ffi"
local mosaic = require "mosaic"
local Request = require "mosaic.comm.request"
local device = require "spec.support.device"
local fill = require "spec.support.fill"

local comm = mosaic.comm.world()

describe("MPI ranks with tensors on their devices", function()
  for _, case in ipairs(require "spec.support.comm_devices") do
    it(case[1], function() case[2](comm) end)
  end
end)

local function operand(rank, count) return fill({ count }, { seed = rank + 1, dtype = "f32" }) end

--- Waits for a request in the worst way: rank 0 looks after messages alone, so that work of its lanes begins
-- when the request is over, the end of a lane first; devices of other ranks have done by then what they can.
local function wait_late(request)
  local note = mosaic.zeros { 1, device = "cpu" }
  for r = 1, comm.rank == 0 and comm.size - 1 or 0 do comm:recv(note, r, { async = true }) end
  while comm:poll() > 0 do end
  if comm.rank == 0 then
    for _ = 1, 200 do comm:poll() end
  else
    local x = mosaic.zeros { 1, device = device.name }
    for _ = 1, 200 do x = x + 1 end
    x:sum():item()
    comm:send(note, 0)
  end
  return request:wait()
end

--- What operation(result, operand, wait) leaves in the result, which is the operand, too, as on the CPU.
local function agrees_in_place(count, operation)
  local x = operand(comm.rank, count)
  local y = x:to { device = device.name }
  operation(x, Request.wait)
  operation(y, wait_late)
  assert.same(x:flat(), y:flat())
end

local function reduce(x, root)
  return Request.start(comm, nil, nil, "mosaic_comm_all_reduce", x.c, x.c, 0, root, 0)
end

describe("lanes of MPI ranks", function()
  it("write over what was sent once it has gone", function()
    for _, count in ipairs { 900, 1100 } do -- in one phase, in two
      agrees_in_place(count, function(x, wait) wait(reduce(x, -1)) end)
      agrees_in_place(count, function(x, wait) wait(reduce(x, comm.size - 1)) end)
    end
    agrees_in_place(900, function(x, wait)
      wait(Request.start(comm, nil, nil, "mosaic_comm_exscan", x.c, x.c, true, 0))
    end)
  end)

  it("write what arrives after what was asked of the device before", function()
    local to, from = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    local x = operand(comm.rank, 1100):to { device = device.name }
    local into = x:clone()
    for i = 1, 20 do into:fill_(i) end
    local sent = comm:send(x, to, { tag = 1, async = true })
    wait_late(comm:recv(into, from, { tag = 1, async = true }))
    sent:wait()
    assert.same(operand(from, 1100):flat(), into:flat())
  end)

  it("write what is gathered where it belongs, and nothing between the rows of one rank alone", function()
    local sizes, name = ffi.new("int64_t[?]", comm.size), device.name
    for r = 0, comm.size - 1 do sizes[r] = 1 end
    local wide = mosaic.zeros { comm.size, comm.rank == comm.size - 1 and 700 or 300, device = name }
    local left, row = wide:slice(2, 1, 300), operand(comm.rank, 300):view(1, 300):to { device = name }
    Request.start(comm, nil, nil, "mosaic_comm_all_gather", left.c, row.c, 0, sizes, 0):wait()
    for r = 0, comm.size - 1 do
      assert.same(operand(r, 300):flat(), wide:slice(1, r + 1, r + 1):slice(2, 1, 300):flat())
    end
    for i, x in ipairs(wide:flat()) do assert.is_true(x == 0 or (i - 1) % wide:size(2) < 300) end
  end)
end)
