--- What every communicator must do besides collectives (comm_cases.lua): { sentence, body(comm) } of
-- messages between two ranks, several requests at once, communicators of some ranks, agreement.
local assert = require "luassert"
local mosaic = require "mosaic"
local operands = require "spec.support.comm_operands"

local filled, same, refused = operands.filled, operands.same, operands.refused
local cases = {}

local function case(name, body) cases[#cases + 1] = { name, body } end

-- point to point --------------------------------------------------------------------------------

case("passes blocks of different shapes round a ring", function(comm)
  local next_rank, previous = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
  local got = comm:sendrecv(filled(comm.rank, { comm.rank, 4 }), next_rank, previous, { previous, 4 })
  same(filled(previous, { previous, 4 }):flat(), got)
end)

case("sends large strided tensors into strided ones, by tag and not by order", function(comm)
  local next_rank, previous = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
  local a, b = filled(comm.rank, { 90, 70 }, "f32"), filled(comm.rank + 5, { 70, 90 }, "f32")
  local first = comm:send(a:t(), next_rank, { tag = 1, async = true })
  local second = comm:send(b, next_rank, { tag = 2, async = true })
  local into = mosaic.zeros { 90, 70, dtype = "f32" }
  comm:recv(into:t(), previous, { tag = 2 })
  same(filled(previous + 5, { 70, 90 }, "f32"):flat(), into:t())
  local other = mosaic.zeros { 70, 90, dtype = "f32" }
  comm:recv(other, previous, { tag = 1 })
  same(filled(previous, { 90, 70 }, "f32"):t():flat(), other)
  first:wait()
  second:wait()
end)

case("sends along an open chain, where the ends have one neighbour", function(comm)
  local to = comm.rank + 1 < comm.size and comm.rank + 1 or nil
  local from = comm.rank > 0 and comm.rank - 1 or nil
  local got = comm:sendrecv(filled(comm.rank, { 4 }), to, from)
  same(from and filled(from, { 4 }):flat() or {}, got)
end)

case("keeps messages with one tag in order, many and large ones too", function(comm)
  local next_rank, previous = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
  for round = 1, 10 do
    local requests = {}
    for k = 1, 6 do
      local x = mosaic.full({ k % 2 == 0 and 3 or 3000 }, comm.rank * 100 + round * 10 + k)
      requests[k] = comm:sendrecv(x, next_rank, previous, nil, { async = true })
    end
    for k = 6, 1, -1 do
      local expected = previous * 100 + round * 10 + k
      local got = requests[k]:wait()
      assert.equal(expected, got:get(1))
      assert.equal(expected, got:get(-1))
    end
  end
end)

case("refuses a short ring message, small or large", function(comm)
  if comm.size > 1 then
    local next_rank, previous = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    for _, count in ipairs { 8, 5000 } do
      local function step()
        local x = mosaic.zeros { comm.rank == 0 and count / 2 or count }
        return comm:sendrecv(x, next_rank, previous, { count })
      end
      if comm.rank == 1 then
        refused(("rank 0 sent message f32 [%d] (%d bytes), rank 1 expects message f32 [%d] (%d bytes)")
          :format(count / 2, count * 2, count, count * 4), step)
      else
        step()
      end
    end
  end
end)

case("refuses a message of another shape with as many elements, small or large", function(comm)
  if comm.size > 1 then
    local next_rank, previous = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    for _, rows in ipairs { 4, 5000 } do
      local x = mosaic.zeros(comm.rank == 0 and { 8, rows } or { rows, 8 })
      local function step() return comm:sendrecv(x, next_rank, previous, { rows, 8 }) end
      local function chain()
        if comm.rank == 0 then comm:send(x, 1) else return comm:recv(mosaic.zeros { rows, 8 }, 0) end
      end
      for _, body in ipairs { step, comm.size == 2 and chain or step } do
        if comm.rank == 1 then
          refused(("rank 0 sent message f32 [8,%d] (%d bytes), rank 1 expects message f32 [%d,8] (%d bytes)")
            :format(rows, rows * 32, rows, rows * 32), body)
        else
          body()
        end
      end
    end
  end
end)

-- several at once -------------------------------------------------------------------------------

case("completes collectives in any order of waiting", function(comm)
  local requests, order = {}, {}
  for k = 1, 6 do
    requests[k] = comm:all_reduce(mosaic.full({ k % 2 == 0 and 3000 or 2 }, k), { async = true })
    order[k] = (k + comm.rank) % 6 + 1
  end
  for _, k in ipairs(order) do
    assert.equal(k * comm.size, requests[k]:wait():get(1))
    assert.equal(k * comm.size, requests[k]:wait():get(2)) -- again the same
  end
end)

case("finishes what nobody waits for, and frees it", function(comm)
  for _ = 1, 3 do comm:all_reduce(mosaic.ones { 2000 }, { async = true }) end
  collectgarbage()
  comm:barrier()
  same({ comm.size }, comm:all_reduce(mosaic.ones { 1 }))
end)

case("polls with test until a message is there", function(comm)
  local request = comm:all_gather(filled(comm.rank, { 1 }), 1, nil, { async = true })
  while not request:test() do end
  assert.equal(comm.size, request:wait():numel())
end)

case("makes progress while it is polled", function(comm)
  local request = comm:barrier { async = true }
  if comm.transport == "mpi" or comm.size == 1 then
    while comm:poll() > 0 do end
    assert.is_true(request:test())
  else
    assert.equal(1, comm:poll()) -- the other virtual ranks need their turn
  end
  request:wait()
  assert.equal(0, comm:poll())
end)

-- groups ----------------------------------------------------------------------------------------

case("splits by color, orders by key, and splits again", function(comm)
  local row = comm:split(comm.rank % 2, -comm.rank)
  local members = {}
  for r = comm.size - 1, 0, -1 do
    if r % 2 == comm.rank % 2 then members[#members + 1] = r end
  end
  same(members, row:all_gather(mosaic.tensor { comm.rank }, 1))
  assert.equal(comm.rank, members[row.rank + 1])
  local pair = row:split(math.floor(row.rank / 2))
  local expected = 0
  for k = row.rank - row.rank % 2, math.min(row.rank - row.rank % 2 + 1, row.size - 1) do
    expected = expected + members[k + 1]
  end
  assert.equal(expected, pair:all_reduce(mosaic.tensor({ comm.rank }, { dtype = "i32" })):item())
  assert.equal(comm.size, comm:all_reduce(mosaic.ones { 1 }):item())
end)

case("keeps messages of sibling communicators apart, and reuses their numbers", function(comm)
  for _ = 1, 3 do
    local a, b = comm:split(0), comm:split(0, -comm.rank)
    local x = a:all_reduce(mosaic.full({ 1 }, 1), { async = true })
    local y = b:all_gather(mosaic.tensor { comm.rank }, 1)
    assert.equal(comm.size - 1, y:get(1))
    assert.equal(comm.size, x:wait():item())
    collectgarbage()
  end
end)

case("splits without waiting, several times at once", function(comm)
  local requests = {}
  for k = 1, 3 do requests[k] = comm:split(comm.rank % 2, k == 2 and -comm.rank or nil, { async = true }) end
  local none = comm:split(nil, nil, { async = true })
  local a, b, c = requests[1]:wait(), requests[2]:wait(), requests[3]:wait()
  local x = a:all_gather(mosaic.tensor { comm.rank }, 1, nil, { async = true })
  local y = b:all_gather(mosaic.tensor { comm.rank }, 1, nil, { async = true })
  local z = c:all_reduce(mosaic.ones { 1 }, { async = true })
  assert.equal(c.size, z:wait():item())
  assert.equal(comm.rank % 2, x:wait():get(1))
  assert.equal(comm.rank % 2, y:wait():get(-1))
  assert.equal(a, requests[1]:wait())
  assert.is_nil(none:wait())
end)

case("leaves ranks without a color out", function(comm)
  local part = comm:split(comm.rank > 0 and 1 or nil)
  if comm.rank == 0 then
    assert.is_nil(part)
  else
    assert.equal(comm.size - 1, part:all_reduce(mosaic.ones { 1 }):item())
  end
end)

-- agreement -------------------------------------------------------------------------------------

case("tells every rank's integers to all", function(comm)
  for r, row in ipairs(comm:all_gather_list { comm.rank, -5, 2 ^ 52 }) do
    assert.same({ r - 1, -5, 2 ^ 52 }, row)
  end
end)

case("agrees, and returns what each rank has of its own", function(comm)
  local long = ("x"):rep(400)
  local rows = comm:agree("here", { shape = { 4, 8 }, name = long, causal = true }, { rows = comm.rank * 3 })
  for r, row in ipairs(rows) do
    assert.same({ shape = { 4, 8 }, name = long, causal = true, rows = (r - 1) * 3 }, row)
  end
end)

case("names on every rank what the ranks disagree upon", function(comm)
  if comm.size > 1 then
    local facts = { heads = 4, shape = { 2, comm.rank == 1 and 9 or 8 } }
    local ok, message = pcall(comm.agree, comm, "attention", facts)
    assert(not ok and message:find("attention: ranks disagree on shape: rank 0 [2,8], rank 1 [2,9]", 1, true),
      tostring(message))
    assert(not message:find "heads")
  end
end)

return cases
