local C = require "mosaic.ffi"
local mosaic = require "mosaic"
local fails = require "spec.support.fails"
local nodes = require "mosaic.comm.nodes"
local program = require "spec.support.program"

--- Latencies of ranks in groups: `near` within one, `far` between, and what `change` makes of them.
local function latencies(groups, near, far, change)
  local of, rows = {}, {}
  for i, group in ipairs(groups) do
    for _, rank in ipairs(group) do of[rank + 1] = i end
  end
  for i = 1, #of do
    rows[i] = {}
    for j = 1, #of do rows[i][j] = i == j and 0 or of[i] == of[j] and near or far end
  end
  if change then change(rows) end
  return rows
end

local function clustered(...) return nodes.grouped(nodes.clustered(latencies(...))) end

describe("nodes", function()
  it("has no answer without a communicator", function()
    assert.equal(-1, C.mosaic_comm_node(nil))
    assert.equal(-1, C.mosaic_comm_world_rank(nil, 0))
  end)

  it("are runs of a given size, the last one shorter", function()
    mosaic.virtual(5, function(comm)
      assert.same({ { 0, 1 }, { 2, 3 }, { 4 } }, comm:nodes { size = 2 })
      assert.same({ { 0, 1, 2, 3, 4 } }, comm:nodes { size = 7 })
    end)
  end)

  it("are the given lists, each rank in one of them", function()
    mosaic.virtual(3, function(comm)
      local groups = { { 2, 0 }, { 1 } }
      assert.same(groups, comm:nodes { groups = groups })
      fails("nodes: rank 1 is in node 1 and in node 2", function()
        comm:nodes { groups = { { 0, 1 }, { 1, 2 } } }
      end)
      fails("nodes: rank 2 is in no node", function() comm:nodes { groups = { { 0 }, { 1 } } } end)
      fails("nodes: node 2 has rank 3, the ranks are 0..2", function()
        comm:nodes { groups = { { 0, 1, 2 }, { 3 } } }
      end)
      fails("nodes: node 2 must be a list of ranks, got an empty one", function()
        comm:nodes { groups = { { 0, 1, 2 }, {} } }
      end)
      fails("nodes: nodes of a size and a list of nodes exclude each other", function()
        comm:nodes { groups = groups, size = 2 }
      end)
      fails("nodes: unknown option 'sise', did you mean 'size'?", function() comm:nodes { sise = 2 } end)
    end)
  end)

  it("are one for virtual ranks, asked for once", function()
    mosaic.virtual(4, function(comm)
      assert.same({ { 0, 1, 2, 3 } }, comm:nodes())
      local calls = comm:counters("all_gather").calls
      comm:nodes()
      assert.equal(calls, comm:counters("all_gather").calls)
    end)
  end)

  it("are machines of MOSAIC_NODE_SIZE ranks of the world, in parts of it too", function()
    local result = program([[--virtual 6 -e '
      local comm = mosaic.comm.world()
      local odd = comm:split(comm.rank % 2, comm.rank)
      local preview = comm:preview({ 1, 3, 5 }, 0)
      if comm.rank ~= 1 then preview:nodes() comm:nodes() odd:nodes() return end
      for _, c in ipairs { preview, comm, odd } do
        local text = {}
        for i, group in ipairs(c:nodes()) do text[i] = table.concat(group, ",") end
        print(table.concat(text, " "))
      end']], { env = "MOSAIC_NODE_SIZE=4" })
    assert.equal("0,1 2\n0,1,2,3 4,5\n0,1 2\n", result.out .. result.err)
    result = program([[--virtual 2 -e 'mosaic.comm.world():nodes()']], { env = "MOSAIC_NODE_SIZE=two" })
    assert.truthy(result.err:find("MOSAIC_NODE_SIZE must be an integer of at least 1, got 'two'", 1, true))
  end)

  it("are found by latency where there are two kinds of links, on all ranks alike", function()
    assert.same({ { 0, 1 }, { 2, 3 } }, clustered({ { 0, 1 }, { 2, 3 } }, 3000, 20000))
    assert.same({ { 0, 2, 4 }, { 1, 3 } }, clustered({ { 0, 2, 4 }, { 1, 3 } }, 900, 12000))
    assert.same({ { 0, 1, 2 } }, clustered({ { 0, 1, 2 } }, 3000, 3000))
    assert.same({ { 0, 1 }, { 2 } }, clustered({ { 0, 1 }, { 2 } }, 3000, 9000))
    -- a disturbed measurement splits no node that other links hold together
    local function disturb(rows) rows[1][2] = 90000 end
    assert.same({ { 0, 1, 2 } }, clustered({ { 0, 1, 2 } }, 3000, 3000, disturb))
    assert.same({}, nodes.clustered {})
    assert.same({ 1 }, nodes.clustered { { 0 } })
    mosaic.virtual(4, function(comm)
      local found = comm:nodes { probe = true }
      for _, row in ipairs(comm:all_gather_list { #found }) do assert.equal(#found, row[1]) end
    end)
  end)
end)
