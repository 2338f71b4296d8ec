--- What communicators do with tensors on a device, as a list of { sentence, body(comm) }: bit for bit what
-- they do with those of the CPU. spec/cuda runs them on virtual ranks, spec/cuda_mpi on processes.
local assert = require "luassert"
local mosaic = require "mosaic"
local device = require "spec.support.device"
local fill = require "spec.support.fill"
local operands = require "spec.support.comm_operands"

local DTYPES, uneven = operands.dtypes, operands.uneven
local cases = {}

local function case(name, body) cases[#cases + 1] = { name, body } end

--- Elements of very different sizes, so that every order of adding them has bits of its own.
local function operand(rank, shape, dtype)
  local scale = dtype:find "[fb]" == 1 and 10 ^ (rank % 3) or 100
  return (fill(shape, { seed = rank + 1 }) * scale):to(dtype)
end

local function same(expected, got)
  assert.equal(mosaic.device_name(device.name), got.device)
  assert.same(expected.shape, got.shape)
  local values = got:flat()
  for i, value in ipairs(expected:flat()) do
    local there = values[i]
    assert(there == value or there ~= there and value ~= value,
      ("element %d is %.17g, on the CPU %.17g (%s)"):format(i, there, value, got:describe()))
  end
end

--- What an operation gives on the device is what it gives on the CPU.
local function agrees(comm, shape, dtypes, operation)
  for _, dtype in ipairs(dtypes) do
    local x = operand(comm.rank, shape, dtype)
    same(operation(x), operation((x:to { device = device.name })))
  end
end

local function own_rows(comm) return { 3, uneven(comm.size)[comm.rank + 1], 2 } end

for _, op in ipairs { "sum", "prod", "min", "max" } do
  case("reduce in the order of the CPU: " .. op, function(comm)
    for _, shape in ipairs { { 7, 3 }, { 1031, 3 }, { 0, 2 } } do
      agrees(comm, shape, DTYPES, function(x) return comm:all_reduce(x, { op = op }) end)
    end
  end)
end

case("reduce strided views", function(comm)
  agrees(comm, { 40, 33 }, { "f32" }, function(x) return comm:all_reduce(x:t()) end)
  agrees(comm, { 8, 5 }, { "f32", "u8" }, function(x) return comm:all_reduce(x:narrow(1, 3, 4)) end)
end)

case("pass NaN through minima and maxima", function(comm)
  for _, op in ipairs { "min", "max" } do
    agrees(comm, { 4 }, { "f32", "bf16" }, function(x)
      return comm:all_reduce(comm.rank == comm.size - 1 and x:full_like(0 / 0) or x, { op = op })
    end)
  end
end)

case("scan, reduce to a root, reduce and scatter", function(comm)
  agrees(comm, { 5, 2 }, { "f32" }, function(x) return comm:exscan(x) end)
  agrees(comm, { 700, 2 }, { "bf16" }, function(x) return comm:reduce(x, comm.size - 1) end)
  agrees(comm, { 3, 10 }, { "f32" }, function(x) return comm:reduce_scatter(x, 2) end)
end)

case("gather, scatter and broadcast, strided too", function(comm)
  local sizes, own = uneven(comm.size), own_rows(comm)
  agrees(comm, own, { "f32", "u8" }, function(x) return comm:all_gather(x, 2, sizes) end)
  agrees(comm, own, { "f16" }, function(x) return comm:all_gather(x:permute(3, 1, 2), 3) end)
  agrees(comm, { 3, 2, 2 }, { "f32" }, function(x) return comm:all_gather(x, 1) end)
  agrees(comm, own, { "f32" }, function(x)
    return comm:scatter(comm:gather(x, 2, 0, sizes), 2, 0, sizes)
  end)
  agrees(comm, { 4, 6 }, { "f64" }, function(x) return comm:broadcast(x:t(), comm.size - 1) end)
end)

case("switch the sharded axis", function(comm)
  agrees(comm, own_rows(comm), { "f32" }, function(x)
    return comm:all_to_all(x, { split_axis = 1, concat_axis = 2 })
  end)
end)

case("exchange blocks of different shapes, one way too", function(comm)
  local to, from = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
  local function block(rank) return operand(rank, { rank, 5 }, "bf16") end
  local x = block(comm.rank):to { device = device.name }
  same(block(from), comm:sendrecv(x, to, from, { from, 5 }))
  local sent = comm:sendrecv(x, to, nil, nil, { async = true })
  same(block(from), comm:sendrecv(nil, nil, from, { from, 5 }, { dtype = "bf16", device = x.device }))
  sent:wait()
end)

case("receive into strided tensors, by tag and not by order", function(comm)
  local to, from = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
  local function block(rank, tag) return operand(rank + 7 * tag, { 60, 40 }, "f32") end
  local sent = {}
  for tag = 1, 3 do
    sent[tag] = comm:send(block(comm.rank, tag):to { device = device.name }, to, { tag = tag, async = true })
  end
  for tag = 3, 1, -1 do
    local into = mosaic.zeros { 40, 60, device = device.name }
    comm:recv(into:t(), from, { tag = tag })
    same(block(from, tag):t(), into)
  end
  for tag = 1, 3 do sent[tag]:wait() end
end)

case("have many operations under way at once, and compute meanwhile", function(comm)
  local to, from = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
  agrees(comm, { 300, 7 }, { "f32" }, function(x)
    local requests, sums = {}, 0
    for k = 1, 4 do
      requests[2 * k - 1] = comm:sendrecv(x, to, from, nil, { async = true })
      requests[2 * k] = comm:all_reduce(x, { async = true })
      x = x * 2 + 1
    end
    for k = #requests, 1, -1 do sums = requests[k]:wait() + sums end
    return sums
  end)
end)

--- Starts the operation of this number.
local function start(comm, number, x)
  local shift, options = number % 7 + 1, { async = true }
  local root, to, from = shift % comm.size, (comm.rank + shift) % comm.size, (comm.rank - shift) % comm.size
  if number % 5 == 0 then return comm:all_reduce(x, options) end
  if number % 5 == 1 then return comm:all_gather(x, 1, nil, options) end
  if number % 5 == 2 then return comm:broadcast(x, root, options) end
  return comm:sendrecv(x, to, from, nil, options)
end

case("have operations of several communicators under way, waited for in any order", function(comm)
  local comms, pending, numbers = { comm, comm:split(comm.rank % 2), comm:split(0, -comm.rank) }, {}, 1
  local function random(below) -- the same on all ranks
    numbers = numbers * 16807 % 2147483647
    return numbers % below
  end
  for _ = 1, 25 do
    local own, number = comms[random(3) + 1], random(35)
    local x = operand(comm.rank, { ({ 7, 300, 3000 })[random(3) + 1] }, "f32")
    local y = x:to { device = device.name }
    table.insert(pending, random(#pending + 1) + 1, { start(own, number, x), start(own, number, y) })
    y = y * 2 -- luacheck: ignore (work meanwhile, where y was)
    while #pending > 4 or #pending > 0 and random(3) == 0 do
      local last = table.remove(pending)
      same(last[1]:wait(), last[2]:wait())
    end
  end
  for _, both in ipairs(pending) do same(both[1]:wait(), both[2]:wait()) end
end)

case("talk in parts of the communicator, made and forgotten", function(comm)
  local function talk()
    local part = comm:split(math.floor(comm.rank / 3), -comm.rank)
    agrees(part, { 7, 3 }, { "f32" }, function(x)
      return part:all_gather(part:all_reduce(part:broadcast(x, part.size - 1)), 1)
    end)
  end
  for _ = 1, 3 do
    talk()
    mosaic.collect()
  end
end)

case("leave out ranks that get nothing", function(comm)
  local part, sizes, rows = comm:split(0), {}, 0
  for r = 1, part.size do
    sizes[r] = r % 2 * 2
    rows = rows + sizes[r]
  end
  agrees(part, { rows, 3 }, { "f32" }, function(x) return part:scatter(x, 1, 0, sizes) end)
  agrees(part, { 5 }, { "f32" }, function(x)
    if part.rank > 0 then return part:recv(x, 0) end
    for to = 1, part.size - 1 do part:send(x, to) end
    return x
  end)
end)

case("write over what was sent, once it has gone", function(comm)
  local to, from = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
  local x = operand(comm.rank, { 3000 }, "f32"):to { device = device.name }
  local y = comm:sendrecv(x, to, from)
  x:zero_()
  same(operand(from, { 3000 }, "f32"), y)
end)

case("carry gradients back", function(comm)
  local function gradient(name)
    local x = operand(comm.rank, { 4, 5 }, "f32"):to { device = name }:requires_grad_()
    local to, from = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    local y = comm:all_gather(comm:sendrecv(comm:all_reduce(x * x), to, from), 1)
    local z = comm:all_to_all(comm:reduce_scatter(y, 1), { split_axis = 2, concat_axis = 1 })
    z:backward((fill(z.shape, { seed = 9, dtype = "f32" }):to { device = name }))
    return x.grad
  end
  same(gradient "cpu", gradient(device.name))
end)

return cases
