--- Derivatives of operations between ranks, as a list of { sentence, body(comm) }.
-- The truth is a finite difference of the sum of all ranks' losses in one element of one rank's input.
-- The operations are linear, so a step of 1 gives it up to rounding.
local assert = require "luassert"
local mosaic = require "mosaic"
local operands = require "spec.support.comm_operands"

local uneven, sum_of = operands.uneven, operands.sum_of
local cases = {}

local function case(name, body) cases[#cases + 1] = { name, body } end

local function filled(salt, shape)
  local x = mosaic.zeros { dtype = "f64", unpack(shape) }
  local values = {}
  for i = 1, x:numel() do values[i] = math.sin(12.9898 * i + 78.233 * salt) end
  return x:numel() > 0 and mosaic.tensor(values, { dtype = "f64" }):view(shape) or x
end

local function weights_like(comm, out) return filled(100 + comm.rank, out.shape) end

--- The sum over the ranks of each one's weighted result.
local function loss(comm, f, x)
  local out, total = f(x), 0
  local o, w = out:flat(), weights_like(comm, out):flat()
  for i = 1, #o do total = total + o[i] * w[i] end
  return comm:all_reduce(mosaic.tensor({ total }, { dtype = "f64" })):item()
end

--- Checks f's gradient for this rank's x (any shape); ranks in `wanting` (default: all) want one.
local function check(comm, f, x, wanting)
  local wants = not wanting or wanting[comm.rank]
  local leaf = x:clone()
  if wants then leaf:requires_grad_() end
  local out = f(leaf)
  if out.edge then out:backward(weights_like(comm, out)) end
  local counts = comm:all_gather_list { x:numel() }
  mosaic.no_grad(function()
    for r = 0, comm.size - 1 do
      for i = 1, counts[r + 1][1] do
        local values = x:flat()
        local function moved(step)
          local copy = { unpack(values) }
          if r == comm.rank then copy[i] = copy[i] + step end
          local y = #copy > 0 and mosaic.tensor(copy, { dtype = "f64" }):view(x.shape) or x
          return loss(comm, f, y)
        end
        local slope = (moved(1) - moved(-1)) / 2
        if r == comm.rank and wants then
          local got = leaf.grad and leaf.grad:flat()[i] or 0
          assert(math.abs(got - slope) <= 1e-10,
            ("element %d: %.12g, differences give %.12g"):format(i, got, slope))
        end
      end
    end
  end)
  if not wants then assert.is_nil(leaf.grad) end
end

local function operations(comm)
  local size, rank, sizes = comm.size, comm.rank, uneven(comm.size)
  local own, total = sizes[rank + 1], sum_of(sizes)
  local to, from = (rank + 1) % size, (rank - 1) % size
  local root = size - 1
  return {
    { "all_reduce", function(x) return comm:all_reduce(x) end, { 2, 3 } },
    { "all_reduce mean", function(x) return comm:all_reduce(x, { op = "mean" }) end, { 2, 3 } },
    { "all_gather", function(x) return comm:all_gather(x, 2) end, { 2, own } },
    { "reduce", function(x) return comm:reduce(x, root) end, { 2, 3 } },
    { "reduce, large", function(x) return comm:reduce(x:expand { 600, 3 }, root) end, { 1, 3 } },
    { "reduce_scatter", function(x) return comm:reduce_scatter(x, 1, sizes) end, { total, 2 } },
    { "all_to_all", function(x)
      return comm:all_to_all(x, { split_axis = 2, concat_axis = 1 })
    end, { own, 5 } },
    { "broadcast", function(x) return comm:broadcast(x, root) end, { 3 } },
    { "exscan", function(x) return comm:exscan(x) end, { 3 } },
    { "gather", function(x) return comm:gather(x, 1, root) end, { own, 2 } },
    { "scatter", function(x) return comm:scatter(x, 1, root, sizes) end, { rank == root and total or 0, 2 } },
    { "sendrecv", function(x) return comm:sendrecv(x, to, from, { from, 2 }) end, { rank, 2 } },
    { "sendrecv on a chain", function(x)
      return comm:sendrecv(x, rank + 1 < size and rank + 1 or nil, rank > 0 and rank - 1 or nil)
    end, { 3 } },
  }
end

for index, name in ipairs { "all_reduce", "all_reduce mean", "all_gather", "reduce", "reduce, large",
  "reduce_scatter", "all_to_all", "broadcast", "exscan", "gather", "scatter", "sendrecv",
  "sendrecv on a chain" } do
  case("carries gradients back through " .. name, function(comm)
    local row = operations(comm)[index]
    assert.equal(name, row[1])
    check(comm, row[2], filled(comm.rank, row[3]))
  end)

  case("and when only some ranks want one: " .. name, function(comm)
    local row = operations(comm)[index]
    check(comm, row[2], filled(comm.rank, row[3]), { [comm.size - 1] = true })
    check(comm, row[2], filled(comm.rank, row[3]), { [0] = true, [2] = true })
    check(comm, row[2], filled(comm.rank, row[3]), {})
  end)
end

case("walks back through a chain of operations, started asynchronously", function(comm)
  check(comm, function(x)
    local sum = comm:all_reduce(x, { async = true })
    local all = comm:all_gather(x * 3, 1, nil, { async = true })
    local a, s = all:wait(), sum:wait()
    local part = comm:reduce_scatter(comm:all_gather(s + x, 1), 1)
    return mosaic.cat({ part, comm:sendrecv(a, (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size) }, 1)
  end, filled(comm.rank, { 2 }))
end)

case("computes again what a checkpoint did not keep, messages included", function(comm)
  check(comm, function(x)
    return mosaic.checkpoint(function(y) return comm:all_reduce(y * 2) * 3 end, x)
  end, filled(comm.rank, { 3 }))
end)

case("records nothing under no_grad, nor for integers", function(comm)
  local x = filled(comm.rank, { 2 }):requires_grad_()
  assert.is_falsy(mosaic.no_grad(function() return comm:all_reduce(x).edge end))
  assert.is_falsy(comm:all_reduce(mosaic.tensor { 1, 2 }).edge)
  assert.is_falsy(comm:all_reduce(x:detach()).edge)
  assert.is_true(comm:all_reduce(x).requires_grad)
end)

case("refuses a gradient that some ranks record and others do not", function(comm)
  if comm.size > 1 then
    local x = filled(1, { 2 }):requires_grad_()
    local ok, message
    if comm.rank == 1 then
      ok, message = pcall(mosaic.no_grad, function() comm:all_reduce(x) end)
    else
      ok, message = pcall(comm.all_reduce, comm, x)
    end
    local other = comm.rank == 1 and "other ranks record a gradient" or "other ranks run under no_grad"
    assert(not ok and message:find(other, 1, true), tostring(message))
  end
end)

case("has no gradient for a maximum, and says so", function(comm)
  local x = filled(comm.rank, { 2 }):requires_grad_()
  local results = {
    all_reduce = comm:all_reduce(x, { op = "max" }), reduce = comm:reduce(x, 0, { op = "max" }),
  }
  for name, y in pairs(results) do
    local ok, message = pcall(y.backward, y, mosaic.ones { 2, dtype = "f64" })
    assert(not ok and message:find(name .. ': op = "max" has no gradient', 1, true), tostring(message))
  end
end)

return cases
