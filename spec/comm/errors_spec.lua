local mosaic = require "mosaic"
local fails = require "spec.support.fails"

--- The call must fail on every rank before anything is sent: a barrier afterwards still works.
local function refused(text, call)
  mosaic.virtual(3, function(comm)
    fails(text, call, comm)
    comm:barrier()
  end)
end

describe("mistakes are found on every rank before the first message:", function()
  local x = mosaic.ones { 2, 6 }

  it("not a tensor", function()
    refused("all_reduce: expected a tensor, got 3", function(comm) comm:all_reduce(3) end)
    refused("send: expected a tensor, got nil", function(comm) comm:send(nil, 1) end)
  end)

  it("a bad axis", function()
    refused("all_gather: axis 0 does not exist", function(comm) comm:all_gather(x, 0) end)
    refused("reduce_scatter: axis 3 is out of range for 2 dims", function(comm) comm:reduce_scatter(x, 3) end)
    refused("all_to_all: option 'split_axis' (integer) is missing", function(comm) comm:all_to_all(x) end)
  end)

  it("a bad rank", function()
    refused("broadcast: root must be a rank, 0..2, got 3", function(comm) comm:broadcast(x, 3) end)
    refused("send: to must be a rank, 0..2, got -1", function(comm) comm:send(x, -1) end)
    refused("sendrecv: from must be a rank, 0..2, got 1.5", function(comm) comm:sendrecv(x, 0, 1.5) end)
    refused("scatter: root must be a rank, 0..2, got nil", function(comm) comm:scatter(x, 1) end)
  end)

  it("sizes that do not fit", function()
    refused("reduce_scatter: the sizes add up to 5, but axis 2 of f32 [2,6]",
      function(comm) comm:reduce_scatter(x, 2, { 1, 2, 2 }) end)
    refused("reduce_scatter: sizes must be a list of 3 sizes, one per rank, got 2 of them",
      function(comm) comm:reduce_scatter(x, 2, { 3, 3 }) end)
    refused("all_gather: sizes[2] must be an integer of at least 0, got -1",
      function(comm) comm:all_gather(x, 2, { 6, -1, 6 }) end)
    refused("all_to_all: the sizes add up to 7, but axis 2 of f32 [2,6]", function(comm)
      comm:all_to_all(x, { split_axis = 2, concat_axis = 1, split_sizes = { 3, 3, 1 } })
    end)
    refused("sendrecv: the shape of what arrives is missing",
      function(comm) comm:sendrecv(nil, nil, (comm.rank + 1) % 3) end)
    refused("scatter: sizes must be a list of 3 sizes, one per rank, got nil",
      function(comm) comm:scatter(x, 1, 0) end)
  end)

  it("shapes that differ where they must not", function()
    mosaic.virtual(2, function(comm)
      fails("all_gather: ranks disagree on shape: rank 0 [*,5], rank 1 [*,6]", function()
        comm:all_gather(mosaic.ones { 3, 5 + comm.rank }, 1)
      end)
      comm:barrier()
    end)
  end)

  it("unknown options and tags", function()
    refused("all_reduce: unknown option 'asnyc', did you mean 'async'? (known: op, async)",
      function(comm) comm:all_reduce(x, { asnyc = true }) end)
    refused("send: tags are 0..32767, got 40000", function(comm) comm:send(x, 0, { tag = 40000 }) end)
  end)

  it("a strange number of ranks, color or fact", function()
    fails("virtual: the number of ranks must be an integer of at least 1, got 0",
      function() mosaic.virtual(0, function() end) end)
    fails("virtual: the body must be a function, got nil", function() mosaic.virtual(2) end)
    refused("split: color must be an integer of at least 0, got 0.5", function(comm) comm:split(0.5) end)
    refused("here: agree: f must be a number, string, boolean or list, got a function",
      function(comm) comm:agree("here", { f = function() end }) end)
  end)

  it("a send that would lose a gradient", function()
    local text = "send: f32 [2] takes part in a gradient, which send does not carry back; use sendrecv or "
      .. "detach()"
    local w = mosaic.ones({ 2 }):requires_grad_()
    refused(text, function(comm) comm:send(w * 2, (comm.rank + 1) % 3) end)
    mosaic.virtual(2, function(comm)
      local requests = { comm:send(w:detach(), 1 - comm.rank, { async = true }) }
      mosaic.no_grad(function() requests[2] = comm:send(w, 1 - comm.rank, { async = true }) end)
      for _, request in ipairs(requests) do
        assert.equal(2, comm:recv(mosaic.zeros { 2 }, 1 - comm.rank):sum():item())
        request:wait()
      end
    end)
  end)

  it("an in-place receive into what a gradient needs", function()
    refused("recv: f32 [2] takes part in a gradient", function(comm)
      comm:recv(mosaic.ones({ 2 }):requires_grad_(), (comm.rank + 1) % 3)
    end)
  end)
end)

describe("a world of one rank", function()
  it("says at once that nobody will answer", function()
    fails("deadlock: rank 0 waits for recv f32 [2] from rank 0, and there is no other rank",
      function() mosaic.comm.world():recv(mosaic.ones { 2 }, 0) end)
    fails("deadlock: rank 0 waits for send f32 [2] to rank 0, and there is no other rank",
      function() mosaic.comm.world():send(mosaic.ones { 2 }, 0) end)
    assert.equal(7, mosaic.comm.world():sendrecv(mosaic.full({ 1 }, 7), 0, 0):item()) -- and forgets it
  end)
end)
