--- Large blocks that cross: MPI asks for each in pieces, while it sends the other one.
local mosaic = require "mosaic"
local close = require "spec.support.close"
local dense = require "spec.support.dense"
local fill = require "spec.support.fill"

local comm = mosaic.comm.world()
local previous, next_rank = (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size

--- A rank's block: no two of the same elements.
local function block(rank, number, count)
  return mosaic.arange(1, count, { dtype = "f64" }):add_(1e7 * rank + 1e6 * number)
end

local function same(got, want)
  got, want = got:flat(), want:flat()
  assert.equal(#want, #got)
  for i = 1, #want do assert.equal(want[i], got[i]) end
end

describe("blocks of two neighbours that cross", function()
  for _, count in ipairs { 486, 8193, 24577, 100003 } do -- eager, and up to 12 pieces
    it(("arrive whole, %d bytes each"):format(8 * count), function()
      local requests, x = {}, fill { 1, 2, 200, 16 }
      for number = 1, 3 do
        requests[number] = comm:sendrecv(block(comm.rank, number, count), next_rank, previous, nil,
          { tag = number, async = true })
        if comm.rank % 2 == 1 then mosaic.sdpa(x, x, x) end -- some are later than others
      end
      for number = 3, 1, -1 do same(requests[number]:wait(), block(previous, number, count)) end
    end)
  end

  local ROWS, HEADS, SIZE = 400, 2, 32 -- 205 kB a block
  local SEEN = { 1, 200, 400 } -- rows whose result is looked at

  --- Those of every rank, of a tensor of all rows.
  local function seen(x)
    local parts = {}
    for rank = 0, comm.size - 1 do
      for _, row in ipairs(SEEN) do parts[#parts + 1] = x:narrow(-2, rank * ROWS + row, 1) end
    end
    return mosaic.cat(parts, -2):contiguous()
  end

  --- A flat list as a tensor of this shape.
  local function tensor(list, shape) return mosaic.tensor(list, { dtype = "f64" }):view(shape) end

  it("make a ring with its gradients", function()
    local shape = { 1, HEADS, comm.size * ROWS, SIZE }
    local x = {}
    for i, name in ipairs { "q", "k", "v", "dout" } do x[name] = fill(shape, { seed = i }) end
    local function own(t) return t:narrow(-2, comm.rank * ROWS + 1, ROWS) end
    local mine, dout = {}, mosaic.zeros { 1, HEADS, ROWS, SIZE, dtype = "f64" }
    for _, name in ipairs { "q", "k", "v" } do mine[name] = own(x[name]):contiguous():requires_grad_() end
    for _, row in ipairs(SEEN) do dout:narrow(-2, row, 1):copy_(own(x.dout):narrow(-2, row, 1)) end

    local out = mosaic.attend(mine.q, mine.k, mine.v,
      { strategy = "ring", comm = comm, layout = "contiguous" })
    out:backward(dout)

    local q = seen(x.q)
    local truth = dense.gradients(q, x.k, x.v, seen(x.dout):flat())
    truth.out = dense.attention(q, x.k, x.v).out
    local function of_rank(list) return tensor(list, q.shape):narrow(-2, comm.rank * #SEEN + 1, #SEEN) end
    for i, row in ipairs(SEEN) do
      close(out:detach():narrow(-2, row, 1), of_rank(truth.out):narrow(-2, i, 1))
      close(mine.q.grad:narrow(-2, row, 1), of_rank(truth.dq):narrow(-2, i, 1))
    end
    close(mine.k.grad, own(tensor(truth.dk, shape)))
    close(mine.v.grad, own(tensor(truth.dv, shape)))
  end)
end)
