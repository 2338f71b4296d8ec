local mosaic = require "mosaic"
local close = require "spec.support.close"
local fails = require "spec.support.fails"
local fill = require "spec.support.fill"
local rows_of = require "spec.support.rows_of"
local worlds = require "spec.support.worlds"

local SIZES = { 1, 2, 3, 4, 5 }
local LAYOUTS = { "contiguous", "zigzag", "striped" }

--- Index lists that leave nothing in order, the last rank without a row where there are several.
local function scrambled(rows, ranks)
  local lists = {}
  for r = 1, ranks do lists[r] = {} end
  for row = rows, 1, -1 do table.insert(lists[row * 5 % math.max(1, ranks - 1) + 1], row) end
  return lists
end

--- What rank holds of the whole when `axis` is sharded.
local function piece(whole, axis, part, rank)
  return rows_of(whole, axis, part:positions(rank))
end

local function partition_of(layout, rows, ranks)
  return mosaic.partition.new {
    layout = layout, rows = rows, ranks = ranks,
    indices = layout == "indices" and scrambled(rows, ranks) or nil,
  }
end

describe("switch", function()
  it("makes one axis whole and cuts another, and back: any length, layout and number of ranks", function()
    for _, rows in ipairs { 0, 1, 3, 7, 10 } do
      for _, columns in ipairs { 1, 2, 9 } do
        local whole = fill { 2, rows, 3, columns }
        worlds(function(comm)
          for i, layout in ipairs { "contiguous", "zigzag", "striped", "indices" } do
            local from = partition_of(layout, rows, comm.size)
            local to = partition_of(LAYOUTS[i % 3 + 1], columns, comm.size)
            local x = piece(whole, 2, from, comm.rank)
            local y, counts = mosaic.switch(x, 2, -1, {
              comm = comm, from_layout = layout, from_indices = from.indices, to_layout = to.layout,
            })
            close(y, piece(whole, 4, to, comm.rank))
            assert.same(from:row_counts(), counts)
            local back, columns_of = mosaic.switch(y, -1, 2, {
              comm = comm, from_layout = to.layout, to_layout = layout, to_indices = from.indices,
              to_counts = counts,
            })
            close(back, x)
            assert.same(to:row_counts(), columns_of)
          end
        end, SIZES)
      end
    end
  end)

  it("carries gradients: the derivative is the opposite switch", function()
    local whole, weight = fill { 5, 2, 7 }, fill({ 5, 2, 7 }, { seed = 3 })
    worlds(function(comm)
      for _, layout in ipairs(LAYOUTS) do
        local from, to = partition_of(layout, 7, comm.size), partition_of(layout, 5, comm.size)
        local x = piece(whole, 3, from, comm.rank):requires_grad_()
        local options = { comm = comm, from_layout = layout, to_layout = layout }
        local y = mosaic.switch(x, 3, 1, options)
        comm:reset_counters();
        (y * y * piece(weight, 1, to, comm.rank)):sum():backward()
        close(x.grad, piece(whole * weight * 2, 3, from, comm.rank))
        assert.equal(1, comm:counters("all_to_all").calls)
      end
    end, SIZES)
  end)

  it("sends every element once, and what stays not at all: (p - 1) / p of a shard", function()
    worlds(function(comm)
      local p, rows, columns = comm.size, 11, 13
      local from, to = partition_of("zigzag", rows, p), partition_of("contiguous", columns, p)
      local x = piece(fill({ rows, 3, columns }, { dtype = "f32" }), 1, from, comm.rank):to "f32"
      comm:reset_counters()
      local y = mosaic.switch(x, 1, 3, { comm = comm, from_layout = "zigzag", to_layout = "contiguous",
        from_counts = from:row_counts() })
      local counters = comm:counters()
      assert.same({ all_to_all = counters.all_to_all }, counters) -- nobody asked
      local mine = to:count(comm.rank)
      assert.equal(4 * 3 * from:count(comm.rank) * (columns - mine), counters.all_to_all.bytes_sent)
      assert.equal(4 * 3 * (rows - from:count(comm.rank)) * mine, counters.all_to_all.bytes_received)
      assert.equal("f32", y.dtype)
      comm:reset_counters()
      mosaic.switch(mosaic.ones { 2 * p, 5 * p }, 1, 2, { comm = comm })
      local whole = 4 * (2 * p * p) * (5 * p)
      assert.equal((p - 1) / p * whole / p, comm:counters("all_to_all").bytes_sent)
    end, SIZES)
  end)

  it("takes uneven contiguous shards on both sides, and integers", function()
    local whole = mosaic.arange(1, 8 * 6):view(8, 6)
    mosaic.virtual(3, function(comm)
      local rows, columns = { 5, 0, 3 }, { 1, 5, 0 }
      local first = ({ 1, 6, 6 })[comm.rank + 1]
      local x = whole:narrow(1, first, rows[comm.rank + 1])
      local y, counts = mosaic.switch(x, 1, 2, { comm = comm, to_counts = columns })
      assert.same(rows, counts)
      assert.same(whole:narrow(2, ({ 1, 2, 7 })[comm.rank + 1] - (comm.rank == 2 and 1 or 0),
        columns[comm.rank + 1]):flat(), y:flat())
      assert.same(x:flat(), (mosaic.switch(y, 2, 1, { comm = comm, to_counts = rows })):flat())
    end)
  end)

  it("follows the layout of mosaic.init", function()
    local whole = fill { 9, 5 }
    mosaic.virtual(4, function()
      mosaic.init { layout = "zigzag" }
      local x = mosaic.shard(whole, { axis = 1 })
      local y = mosaic.switch(x, 1, 2)
      close(y, mosaic.shard(whole, { axis = 2 }))
      close(mosaic.switch(y, 2, 1), x)
    end)
  end)

  it("refuses on every rank what one rank gets wrong, before the first message", function()
    local function refused(text, call)
      mosaic.virtual(3, function(comm)
        comm:reset_counters()
        fails(text, call, comm)
        assert.is_nil(comm:counters().all_to_all)
        comm:barrier()
      end)
    end
    local x = fill { 4, 6 }
    refused("switch: from_axis and to_axis are both axis 2 of f64 [4,6]",
      function(comm) mosaic.switch(x, 2, -1, { comm = comm }) end)
    refused("switch: axis 0 does not exist", function(comm) mosaic.switch(x, 0, 1, { comm = comm }) end)
    refused("switch: axis 3 is out of range for 2 dims",
      function(comm) mosaic.switch(x, 1, 3, { comm = comm }) end)
    refused("switch: ranks disagree on shape: rank 0 [n,6], rank 1 [n,7], rank 2 [n,6]",
      function(comm) mosaic.switch(fill { 4, comm.rank == 1 and 7 or 6 }, 1, 2, { comm = comm }) end)
    refused("switch: ranks disagree on from_axis: rank 0 1, rank 1 2, rank 2 1", function(comm)
      local from = comm.rank == 1 and 2 or 1
      mosaic.switch(fill { 4, 4 }, from, 3 - from, { comm = comm })
    end)
    refused("switch: ranks disagree on from_indices: ", function(comm) -- the same lists on the other side
      local lists = { { { 1, 2, 3, 4 }, { 5, 6, 7, 8 }, {} }, { { 5, 6, 7, 8 }, { 1, 2, 3, 4 }, {} } }
      local first = comm.rank == 0 and 1 or 2
      mosaic.switch(fill { 4, 8 }, 1, 2, {
        comm = comm, from_indices = lists[first], to_indices = lists[3 - first],
      })
    end)
    refused("switch: expected a tensor, got nil",
      function(comm) mosaic.switch(comm.rank == 2 and x or nil, 1, 2, { comm = comm }) end)
    refused("did you mean 'zigzag'?",
      function(comm) mosaic.switch(x, 1, 2, { comm = comm, to_layout = "zigzak" }) end)
    refused("switch: to_counts add up to 7, but to_axis has 6",
      function(comm) mosaic.switch(x, 1, 2, { comm = comm, to_counts = { 3, 3, 1 } }) end)
    refused("switch: rank 0 brings 4, but layout 'zigzag' of 9 rows on 3 ranks gives it 3", function(comm)
      local own = fill { ({ 4, 2, 3 })[comm.rank + 1], 6 }
      mosaic.switch(own, 1, 2, { comm = comm, from_layout = "zigzag" })
    end)
    refused("switch: to_counts must be a list of 3 sizes, one per rank, got 2 of them",
      function(comm) mosaic.switch(x, 1, 2, { comm = comm, to_counts = { 3, 3 } }) end)
    refused("switch: to_counts: rank 0 brings 3, but layout 'striped' of 6 rows on 3 ranks gives it 2",
      function(comm)
        mosaic.switch(x, 1, 2, { comm = comm, to_layout = "striped", to_counts = { 3, 2, 1 } })
      end)
    refused("unknown option 'layout'",
      function(comm) mosaic.switch(x, 1, 2, { comm = comm, layout = "zigzag" }) end)
  end)
end)
