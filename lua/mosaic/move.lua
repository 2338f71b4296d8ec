--- Rows go from the ranks that have them to the ranks that want them, in one all-to-all.
--
--   move(comm, x, axis, have, want, wire) -> the rows of want:pieces(comm.rank), in that order
--
-- x holds the rows have:pieces(comm.rank) along `axis`. have and want are placements over comm's ranks; of
-- a row that several ranks have, the lowest one sends it. A row may be wanted by any number of ranks, and
-- a rank may want rows of any others or none. What a rank wants of its own rows is not sent. Backward goes
-- the opposite way and sums over all that wanted a row. With `wire` (wire.lua) rows travel in that format.
--
--   move.back(comm, g, axis, have, want) -> gradient of x, in g's dtype, from that of the rows wanted
--   move.rows_sent(rank, have, want) -> how many rows the rank sends to others
local ffi = require "ffi"
local check = require "mosaic.check"
local Comm = require "mosaic.comm.class"
local create = require "mosaic.tensor.create"

local int_array = ffi.typeof "int32_t[?]"

--- Calls body(position) for every row of some pieces, in order.
local function each_row(pieces, body)
  for _, piece in ipairs(pieces) do
    for i = 0, piece[3] - 1 do body(piece[1] + i * piece[2]) end
  end
end

--- The largest row number of a placement.
local function last_row(placement)
  local last = 0
  for rank = 0, placement.ranks - 1 do
    for _, piece in ipairs(placement:pieces(rank)) do
      if piece[3] > 0 then last = math.max(last, piece[1] + (piece[3] - 1) * piece[2]) end
    end
  end
  return last
end

--- owner[row]: the rank that sends the row, -1 for none; place[row]: its place there, from 1.
local function directory(have, last)
  local owner, place = int_array(last + 1, -1), int_array(last + 1)
  for row = 0, last do owner[row] = -1 end
  for rank = have.ranks - 1, 0, -1 do
    local at = 0
    each_row(have:pieces(rank), function(row)
      at = at + 1
      owner[row], place[row] = rank, at
    end)
  end
  return owner, place
end

--- Which of its rows this rank sends (places, in the order of the receivers), and how many to each.
local function outgoing(want, rank, owner, place)
  local places, sizes = {}, {}
  for receiver = 0, want.ranks - 1 do
    local before = #places
    each_row(want:pieces(receiver), function(row)
      if owner[row] == rank then places[#places + 1] = place[row] end
    end)
    sizes[receiver + 1] = #places - before
  end
  return places, sizes
end

--- Where the wanted rows stand in what arrives (sorted by sender), and how many each rank sends.
local function incoming(want, rank, owner)
  local sizes, starts, places = {}, {}, {}
  for sender = 1, want.ranks do sizes[sender] = 0 end
  each_row(want:pieces(rank), function(row)
    if owner[row] < 0 then check.fail("move: rank %d wants row %d, which no rank has", rank, row) end
    sizes[owner[row] + 1] = sizes[owner[row] + 1] + 1
  end)
  local at = 0
  for sender = 1, want.ranks do
    starts[sender], at = at, at + sizes[sender]
  end
  each_row(want:pieces(rank), function(row)
    local sender = owner[row] + 1
    starts[sender] = starts[sender] + 1
    places[#places + 1] = starts[sender]
  end)
  return places, sizes
end

--- Slices of x in the order of `places`: a view where they follow each other.
local function take(x, axis, places)
  local first = places[1] or 1
  for i, place in ipairs(places) do
    if place ~= first + i - 1 then
      return x:index_select(axis, create.tensor(places, { dtype = "i64", device = x.device }))
    end
  end
  if #places == x:size(axis) then return x end
  return x:narrow(axis, first, #places)
end

--- For this rank: the places that it sends and how many to each; of what arrives the places, and how many
-- of each.
local function route(rank, have, want)
  local owner, place = directory(have, math.max(last_row(have), last_row(want)))
  local out_places, out_sizes = outgoing(want, rank, owner, place)
  local in_places, in_sizes = incoming(want, rank, owner)
  return out_places, out_sizes, in_places, in_sizes
end

local move = {}

--- A rank's gradient for the rows that it has, from all ranks' gradients for what they wanted.
function move.back(comm, g, axis, have, want)
  local out_places, out_sizes, in_places, in_sizes = route(comm.rank, have, want)
  local function add(places, x, count)
    local shape = x.shape
    shape[axis > 0 and axis or #shape + 1 + axis] = count
    local sum = create.zeros { dtype = x.dtype, device = x.device, unpack(shape) }
    return sum:index_add_(axis, create.tensor(places, { dtype = "i64", device = x.device }), x)
  end
  local sent = comm:all_to_all(add(in_places, g, #in_places), {
    split_axis = axis, concat_axis = axis, split_sizes = in_sizes, concat_sizes = out_sizes,
  })
  return add(out_places, sent, have:count(comm.rank))
end

function move.rows_sent(rank, have, want)
  local _, sizes = route(rank, have, want)
  local rows = 0
  for receiver, size in ipairs(sizes) do rows = rows + (receiver - 1 == rank and 0 or size) end
  return rows
end

local function forward(_, comm, x, axis, have, want, wire)
  Comm.check_comm("move", comm)
  local out_places, out_sizes, in_places, in_sizes = route(comm.rank, have, want)
  local arrived = comm:all_to_all(take(x, axis, out_places), {
    split_axis = axis, concat_axis = axis, split_sizes = out_sizes, concat_sizes = in_sizes,
    wire = wire,
  })
  return take(arrived, axis, in_places)
end

return setmetatable(move, { __call = forward })
