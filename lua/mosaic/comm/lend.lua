--- Tensors that ranks of one node read where they are, instead of being sent.
--
--   local reads = lend.between(comm, like, rows)         reads(a, b): may rank b read in place what a lends?
--   local returned = lend.out(comm, tensors, ranks, tag) they may read; returned() waits until all have
--   local tensors, give_back = lend.borrow(comm, like, rows, rank, tag)
--
-- What is lent must stay as it is until it is returned, what is borrowed is for reading only. A lender tells
-- by a small message where its tensors lie, a borrower gives them back by an empty one, so whoever waits in
-- vain fails as for any message. Who can read whose memory is found out once for a communicator, by all its
-- ranks; where it cannot be read (other nodes, other containers, virtual ranks, MOSAIC_PACE) or is not to be
-- (MOSAIC_SHARE=off) nothing is lent. Blocks of less than MOSAIC_SHARE_FROM bytes are not worth two messages.
local ffi = require "ffi"
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local create = require "mosaic.tensor.create"
local environment = require "mosaic.environment"
local state = require "mosaic.state"
local Tensor = require "mosaic.tensor"

local SHARE_FROM = 2 ^ 18
local PLACE = 2 -- numbers of mosaic_share_lend; offset and strides follow
local NUMBERS = PLACE + 1 + C.MOSAIC_MAX_DIMS -- of a tensor

local number_t = ffi.typeof "int64_t[1]"

local lend = {}

local function unwanted()
  return (os.getenv "MOSAIC_PACE" or "") ~= "" or os.getenv "MOSAIC_SHARE" == "off"
end

--- { process, file, mark } of this rank's memory, zeros where others cannot read it; from how many bytes on.
local function own_facts()
  local process, file, mark = number_t(), number_t(), number_t()
  local from = environment.number "MOSAIC_SHARE_FROM" or SHARE_FROM
  if unwanted() or C.mosaic_share_open(process, file, mark) ~= C.MOSAIC_OK then return { 0, 0, 0, from } end
  return { tonumber(process[0]), tonumber(file[0]), tonumber(mark[0]), from }
end

--- Maps the memory of the other ranks of this node: their numbers by rank, nil if one cannot be read.
local function map_all(comm, group, facts)
  local numbers, number = {}, ffi.new "int[1]"
  for _, rank in ipairs(group) do
    local process, file, mark = unpack(facts[rank + 1])
    if rank ~= comm.rank then
      if process == 0 or C.mosaic_share_map(number, process, file, mark) ~= C.MOSAIC_OK then return nil end
      numbers[rank] = number[0]
    end
  end
  return facts[comm.rank + 1][1] ~= 0 and numbers or nil
end

--- { node[rank + 1] = number of the node in which all read all, or nil; numbers, from }. Collective.
local function find(comm)
  if comm.transport ~= "mpi" or comm.size == 1 then return { node = {}, from = 0 } end
  local facts, groups, own = comm:all_gather_list(own_facts()), comm:nodes(), nil
  for _, group in ipairs(groups) do
    for _, rank in ipairs(group) do own = rank == comm.rank and group or own end
  end
  local numbers, from, node = map_all(comm, own, facts), 0, {}
  local mapped = comm:all_gather_list { numbers and 1 or 0 }
  for i, group in ipairs(groups) do
    local all = true
    for _, rank in ipairs(group) do all = all and mapped[rank + 1][1] == 1 end
    for _, rank in ipairs(group) do node[rank + 1] = all and i or nil end
  end
  for _, fact in ipairs(facts) do from = math.max(from, fact[4]) end
  return { node = node, from = from, numbers = numbers }
end

local function nobody() return false end

--- Bytes of so many rows of a tensor.
local function bytes_of(x, rows)
  local bytes = rows * tonumber(C.mosaic_dtype_bytes(x.c.dtype))
  for axis, size in ipairs(x.shape) do bytes = axis == x.ndim - 1 and bytes or bytes * size end
  return bytes
end

--- For tensors like this one, with at most so many rows on a rank. Every rank must ask alike.
function lend.between(comm, like, rows)
  if like.device ~= "cpu" then return nobody end
  comm.lending = comm.lending or find(comm)
  local known = comm.lending
  if bytes_of(like, rows) < known.from then return nobody end
  return function(a, b)
    local node = known.node[a + 1]
    return a ~= b and node ~= nil and node == known.node[b + 1]
  end
end

--- Bytes that only arrange things.
local function agreed(bytes) state.current.agreed_bytes = state.current.agreed_bytes + bytes end

--- x, or its copy that others can read; NUMBERS numbers that say where it lies go into the list. Axes keep
-- their order in memory: so a copy is made of the longest runs that x has.
local function lent(x, numbers)
  local c, place, order, strides = Tensor.blank(), ffi.new("int64_t[?]", PLACE), x:memory_order(), {}
  check.call("mosaic_share_lend", c, place, x:permute(order).c)
  for j = 0, PLACE - 1 do numbers[#numbers + 1] = tonumber(place[j]) end
  numbers[#numbers + 1] = tonumber(c.offset)
  for j, axis in ipairs(order) do strides[axis] = tonumber(c.stride[j - 1]) end
  for j = 1, C.MOSAIC_MAX_DIMS do numbers[#numbers + 1] = strides[j] or 0 end
  return Tensor.wrap(c)
end

function lend.out(comm, tensors, ranks, tag)
  local numbers, held, requests = {}, {}, {}
  for i, x in ipairs(tensors) do held[i] = lent(x, numbers) end
  local message = create.tensor(numbers, { dtype = "i64", device = "cpu" })
  for i, rank in ipairs(ranks) do
    requests[i] = comm:sendrecv(message, rank, nil, nil, { tag = tag, async = true })
    agreed(8 * #numbers)
  end
  return function()
    for i, rank in ipairs(ranks) do
      requests[i]:wait()
      comm:sendrecv(nil, nil, rank, { 0 }, { tag = tag + 1, dtype = "u8", device = "cpu" })
    end
    for _, x in ipairs(held) do x:free() end
  end
end

--- The tensor like x with so many rows that lies where numbers[at + 1], ... say in a mapped memory.
local function borrowed(x, rows, mapped, numbers, at)
  local base, view = Tensor.blank(), Tensor.blank()
  local place = ffi.new("int64_t[?]", PLACE, numbers[at + 1], numbers[at + 2])
  check.call("mosaic_share_borrow", base, mapped, place, x.c.dtype)
  local size, stride = ffi.new("int64_t[8]", x.c.size), ffi.new "int64_t[8]"
  size[x.ndim - 2] = rows
  for j = 0, x.ndim - 1 do stride[j] = numbers[at + PLACE + 2 + j] end
  check.call("mosaic_as_strided", view, base, x.ndim, size, stride, numbers[at + PLACE + 1])
  Tensor.wrap(base):free()
  return Tensor.wrap(view)
end

--- Tensors like these but with so many rows, as the rank has lent them.
function lend.borrow(comm, like, rows, rank, tag)
  local tensors, mapped = {}, comm.lending.numbers[rank]
  local numbers = comm:sendrecv(nil, nil, rank, { #like * NUMBERS },
    { tag = tag, dtype = "i64", device = "cpu" }):flat()
  for i, x in ipairs(like) do tensors[i] = borrowed(x, rows, mapped, numbers, (i - 1) * NUMBERS) end
  return tensors, function()
    for _, x in ipairs(tensors) do x:free() end
    local nothing = create.empty { 0, dtype = "u8", device = "cpu" }
    return comm:sendrecv(nothing, rank, nil, nil, { tag = tag + 1, async = true })
  end
end

--- Tensors like these, so many rows of each, were lent to one more rank: they count as sent.
function lend.count(comm, like, rows)
  for _, x in ipairs(like) do C.mosaic_comm_count_lent(comm.handle, bytes_of(x, rows)) end
end

return lend
