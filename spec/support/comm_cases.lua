--- What collectives of every communicator must do, as a list of { sentence, body(comm) }; comm_messages.lua
-- has the rest. Every rank checks its own results against plain Lua arithmetic; spec/comm runs them on
-- virtual worlds, spec/mpi on the real one.
local assert = require "luassert"
local ffi = require "ffi"
local mosaic = require "mosaic"
local operands = require "spec.support.comm_operands"

local value, filled, uneven, sum_of = operands.value, operands.filled, operands.uneven, operands.sum_of
local same, reduced, refused = operands.same, operands.reduced, operands.refused
local cases = {}

local function case(name, body) cases[#cases + 1] = { name, body } end

local function add(a, b) return a + b end

-- formats of rows --------------------------------------------------------------------------------

case("moves rows rounded to a wire format", function(comm)
  local p, sizes = comm.size, uneven(comm.size)
  local function rows(r) return filled(r, { 2, sizes[r + 1], 5 }) end
  for _, format in ipairs { "bf16", "fp8", "int8" } do -- not pairs: every process has an order of its own
    local scale = format == "int8" and 1 / 127 or 1
    local function rounded(r) return mosaic.wire.round(rows(r) * scale, format) end
    local parts = {}
    for r = 0, p - 1 do parts[r + 1] = rounded(r) end
    same(mosaic.cat(parts, 2):flat(), comm:all_gather(rows(comm.rank) * scale, 2, sizes, { wire = format }))
    local left = (comm.rank - 1) % p
    same(rounded(left):flat(), comm:sendrecv(rows(comm.rank) * scale, (comm.rank + 1) % p, left,
      { 2, sizes[left + 1], 5 }, { wire = format }))
  end
end)

-- reductions ------------------------------------------------------------------------------------

case("sums, and finds minima and maxima, in every dtype", function(comm)
  for _, dtype in ipairs(operands.dtypes) do
    local x = filled(comm.rank, { 5, 3 }, dtype)
    same(reduced(comm.size, 15, add), comm:all_reduce(x))
    same(reduced(comm.size, 15, math.max), comm:all_reduce(x, { op = "max" }))
    same(reduced(comm.size, 15, math.min), comm:all_reduce(x, { op = "min" }))
  end
end)

case("multiplies", function(comm)
  local x = mosaic.full({ 3, dtype = "i32" }, comm.rank % 3 + 1)
  local expected = 1
  for r = 0, comm.size - 1 do expected = expected * (r % 3 + 1) end
  same({ expected, expected, expected }, comm:all_reduce(x, { op = "prod" }))
end)

case("all-reduces large, strided and empty tensors, of lengths that the ranks do not divide", function(comm)
  for _, shape in ipairs { { 1031, 3 }, { 0, 4 }, { 1 } } do
    local x = filled(comm.rank, shape, "f32")
    same(reduced(comm.size, x:numel(), add), comm:all_reduce(x))
  end
  local x = filled(comm.rank, { 70, 61 }, "f64")
  local sum = comm:all_reduce(x:t())
  assert.same({ 61, 70 }, sum.shape)
  same(reduced(comm.size, x:numel(), add), sum:t():contiguous())
end)

case("adds in rank order in f32, whatever the path", function(comm)
  local function element(r, i) return math.sin(i * 12.9898 + r * 78.233) * 10 ^ (r % 5) end
  for _, count in ipairs { 50, 4099 } do
    local values, expected, cell = {}, {}, ffi.new "float[2]"
    for i = 1, count do
      values[i] = element(comm.rank, i)
      cell[0] = element(0, i)
      for r = 1, comm.size - 1 do
        cell[1] = element(r, i)
        cell[0] = cell[0] + cell[1] -- one rounding to f32 per addition
      end
      expected[i] = cell[0]
    end
    same(expected, comm:all_reduce(mosaic.tensor(values, { dtype = "f32" })))
  end
end)

case("accumulates halves in f32 and rounds once", function(comm)
  local x = mosaic.full({ 3, dtype = "bf16" }, comm.rank == 0 and 256 or 1)
  -- stepwise bf16 would stay at 256 for ever: its neighbours are 254 and 258
  local exact = 256 + comm.size - 1
  local expected = exact % 2 == 0 and exact or (exact % 4 == 1 and exact - 1 or exact + 1)
  same({ expected, expected, expected }, comm:all_reduce(x))
end)

case("wraps integer sums and passes NaN through min and max", function(comm)
  if comm.size > 1 then
    local big = mosaic.full({ 1, dtype = "i32" }, comm.rank < 2 and 2 ^ 30 or 0)
    same({ -2 ^ 31 }, comm:all_reduce(big))
    local x = mosaic.full({ 1, dtype = "f32" }, comm.rank == 1 and 0 / 0 or 3)
    for _, op in ipairs { "min", "max" } do
      local got = comm:all_reduce(x, { op = op }):item()
      assert(got ~= got, "NaN was lost")
    end
  end
end)

case("reduce-scatters uneven parts along any axis", function(comm)
  local sizes = uneven(comm.size)
  local total = sum_of(sizes)
  for axis = 1, 2 do
    local x = filled(comm.rank, axis == 1 and { total, 5 } or { 5, total })
    local whole = mosaic.tensor(reduced(comm.size, x:numel(), add), { dtype = "f64" }):view(x.shape)
    local start = sum_of(sizes, comm.rank)
    local expected = whole:narrow(axis, start + 1, sizes[comm.rank + 1])
    local got = comm:reduce_scatter(x, axis, sizes)
    assert.same(expected.shape, got.shape)
    same(expected:flat(), got)
  end
end)

case("scans: the sum over the ranks before, or after, this one", function(comm)
  local before, after = {}, {}
  for i = 1, 6 do
    before[i], after[i] = 0, 0
    for r = 0, comm.rank - 1 do before[i] = before[i] + value(r, i) end
    for r = comm.rank + 1, comm.size - 1 do after[i] = after[i] + value(r, i) end
  end
  local x = filled(comm.rank, { 2, 3 })
  same(before, comm:exscan(x))
  same(after, comm:exscan(x, { reverse = true }))
end)

case("reduces to a root; the others get zeros", function(comm)
  local root = comm.size - 1
  for _, count in ipairs { 10, 1500 } do
    local got = comm:reduce(filled(comm.rank, { count }, "f32"), root)
    local expected = comm.rank == root and reduced(comm.size, count, add) or mosaic.zeros({ count }):flat()
    same(expected, got)
  end
end)

-- moving ----------------------------------------------------------------------------------------

case("all-gathers uneven and empty parts along any axis, strided inputs too", function(comm)
  local sizes = uneven(comm.size)
  for axis = 1, 2 do
    local blocks = {}
    for r = 0, comm.size - 1 do
      local shape = axis == 1 and { sizes[r + 1], 5 } or { 5, sizes[r + 1] }
      blocks[r] = filled(r, shape)
    end
    for _, given in ipairs { sizes, false } do
      local got = comm:all_gather(blocks[comm.rank], axis, given or nil)
      assert.equal(sum_of(sizes), got:size(axis))
      for r = 0, comm.size - 1 do
        same(blocks[r]:flat(), got:narrow(axis, sum_of(sizes, r) + 1, sizes[r + 1]))
      end
    end
    local strided = comm:all_gather(blocks[comm.rank]:t(), 3 - axis, sizes)
    for r = 0, comm.size - 1 do
      same(blocks[r]:t():flat(), strided:narrow(3 - axis, sum_of(sizes, r) + 1, sizes[r + 1]))
    end
  end
end)

case("switches the sharded axis by all_to_all and back, with uneven sizes", function(comm)
  local rows, columns = uneven(comm.size), {}
  for r = 1, comm.size do columns[r] = (r * 3) % 4 end
  local whole = filled(0, { 2, sum_of(rows), sum_of(columns) })
  local me = comm.rank + 1
  local by_rows = whole:narrow(2, sum_of(rows, me - 1) + 1, rows[me])
  local by_columns = whole:narrow(3, sum_of(columns, me - 1) + 1, columns[me])
  local switched = comm:all_to_all(by_rows, { split_axis = 3, concat_axis = 2, split_sizes = columns })
  assert.same(by_columns.shape, switched.shape)
  same(by_columns:flat(), switched)
  same(by_rows:flat(), comm:all_to_all(switched, { split_axis = 2, concat_axis = 3, split_sizes = rows,
    concat_sizes = columns }))
end)

case("exchanges a different number of rows with each peer", function(comm)
  local function count(from, to) return (from + 2 * to) % 3 end
  local cut, total = {}, 0
  for to = 0, comm.size - 1 do
    cut[to + 1] = count(comm.rank, to)
    total = total + cut[to + 1]
  end
  local values = {} -- the element tells from whom and to whom
  for to = 0, comm.size - 1 do
    for k = 1, cut[to + 1] do values[#values + 1] = comm.rank * 100 + to * 10 + k end
  end
  local x = mosaic.zeros { 0, dtype = "i64" }
  if total > 0 then x = mosaic.tensor(values, { dtype = "i64" }) end
  local expected = {}
  for from = 0, comm.size - 1 do
    for k = 1, count(from, comm.rank) do expected[#expected + 1] = from * 100 + comm.rank * 10 + k end
  end
  same(expected, comm:all_to_all(x, { split_axis = 1, concat_axis = 1, split_sizes = cut }))
end)

case("broadcasts from every root", function(comm)
  for root = 0, comm.size - 1 do
    same(filled(root, { 3, 2 }):flat(), comm:broadcast(filled(comm.rank, { 2, 3 }):t(), root):t():t()
      and comm:broadcast(filled(comm.rank, { 3, 2 }), root))
  end
end)

case("gathers to a root and scatters from it", function(comm)
  local sizes, root = uneven(comm.size), comm.size - 1
  local mine = filled(comm.rank, { 3, sizes[comm.rank + 1] })
  local all = comm:gather(mine, 2, root)
  assert.same({ 3, comm.rank == root and sum_of(sizes) or 0 }, all.shape)
  if comm.rank == root then
    for r = 0, comm.size - 1 do
      same(filled(r, { 3, sizes[r + 1] }):flat(), all:narrow(2, sum_of(sizes, r) + 1, sizes[r + 1]))
    end
  end
  same(mine:flat(), comm:scatter(all, 2, root, sizes))
end)

-- mismatches ------------------------------------------------------------------------------------

case("refuses a maximum against sums, on every rank", function(comm)
  if comm.size > 1 then
    local odd = comm.size - 1
    local mine = comm.rank == odd and "max" or "sum"
    local text = "rank %d sent all_reduce f32 [4] max (16 bytes)"
    if comm.rank == odd then
      text = "sent all_reduce f32 [4] sum (16 bytes), rank %d expects all_reduce f32 [4] max"
    end
    refused(text:format(odd), function() comm:all_reduce(mosaic.zeros { 4 }, { op = mine }) end)
  end
end)

case("refuses integers against floats, other lengths, and other collectives", function(comm)
  if comm.size > 1 then
    local odd = comm.rank == 0
    refused("all_reduce i32 [4] sum (16 bytes)", function()
      comm:all_reduce(mosaic.zeros { 4, dtype = odd and "i32" or "f32" })
    end)
    refused("all_reduce f32 [3] sum (12 bytes)", function()
      comm:all_reduce(mosaic.zeros { odd and 3 or 4 })
    end)
    refused("all_reduce f32 [9000] sum", function()
      comm:all_reduce(mosaic.zeros { odd and 9000 or 9001 })
    end)
    refused("exscan f32 [4]", function()
      if odd then comm:exscan(mosaic.zeros { 4 }) else comm:all_reduce(mosaic.zeros { 4 }) end
    end)
  end
end)

case("refuses shapes and axes that differ where the numbers of elements do not", function(comm)
  if comm.size == 2 then
    local first, ones = comm.rank == 0, { 1, 1 }
    local x, axis = mosaic.zeros(first and { 2, 3 } or { 3, 2 }), first and 1 or 2
    local square = mosaic.zeros { 2, 2 }
    local sent = "rank %d sent %s f32 [%s"
    refused(sent:format(1 - comm.rank, "all_reduce", first and "3,2]" or "2,3]"),
      function() comm:all_reduce(x) end)
    if not first then
      refused("rank 0 sent broadcast f32 [2,3] root 0 (24 bytes), rank 1 expects broadcast f32 [3,2] root 0",
        function() comm:broadcast(x, 0) end)
    else
      comm:broadcast(x, 0)
    end
    refused(sent:format(1 - comm.rank, "all_gather", first and "2,2] axis 2" or "2,2] axis 1"),
      function() comm:all_gather(square, axis, { 2, 2 }) end)
    refused(sent:format(1 - comm.rank, "reduce_scatter", first and "2,1] axis 2" or "1,2] axis 1"),
      function() comm:reduce_scatter(square, axis, ones) end)
    refused(sent:format(1 - comm.rank, "all_to_all", first and "1,2] axis 1 to 1" or "1,2] axis 1 to 2"),
      function()
        comm:all_to_all(square, { split_axis = 1, concat_axis = 3 - axis, split_sizes = ones,
          concat_sizes = first and { 2, 2 } or ones })
      end)
  end
end)

return cases
