--- The C API's results may be strided: what arrives lands in their elements and nowhere else.
local ffi = require "ffi"
local mosaic = require "mosaic"
local C = require "mosaic.ffi"

--- Runs start(request, out) with out's transpose as the result; its rows afterwards.
local function into_columns(start)
  local columns = mosaic.zeros { 2, 2 }
  local out, request = columns:t(), ffi.new "mosaic_request *[1]"
  return function(comm)
    assert.equal(0, tonumber(start(request, comm.handle, out.c)))
    while tonumber(C.mosaic_request_wait(request[0], 0)) ~= 0 do comm.host:pause(nil) end
    C.mosaic_request_release(request[0])
    return columns:flat()
  end
end

local ONE_EACH, TWO_EACH = ffi.new("int64_t[2]", 1, 1), ffi.new("int64_t[2]", 2, 2)

--- Rank r holds { 10 r + 1, 10 r + 2 }, as a row or as rows of one.
local function own(comm, rows)
  return mosaic.tensor { 10 * comm.rank + 1, 10 * comm.rank + 2 }:view(rows, 2 / rows)
end

describe("collectives fill strided results:", function()
  it("all_gather", function()
    mosaic.virtual(2, function(comm)
      local row = own(comm, 1)
      local run = into_columns(function(request, handle, out)
        return C.mosaic_comm_all_gather(request, handle, out, row.c, 0, ONE_EACH, 0)
      end)
      assert.same({ 1, 11, 2, 12 }, run(comm))
    end)
  end)

  it("gather", function()
    mosaic.virtual(2, function(comm)
      local row = own(comm, 1)
      if comm.rank == 1 then return comm:gather(row, 1, 0, { 1, 1 }) end
      local run = into_columns(function(request, handle, out)
        return C.mosaic_comm_gather(request, handle, out, row.c, 0, ONE_EACH, 0, 0)
      end)
      assert.same({ 1, 11, 2, 12 }, run(comm))
    end)
  end)

  it("scatter", function()
    mosaic.virtual(2, function(comm)
      local x = comm.rank == 0 and mosaic.arange(1, 8):to("f32"):view(4, 2) or mosaic.zeros { 0, 2 }
      local run = into_columns(function(request, handle, out)
        return C.mosaic_comm_scatter(request, handle, out, x.c, 0, TWO_EACH, 0, 0)
      end)
      assert.same(comm.rank == 0 and { 1, 3, 2, 4 } or { 5, 7, 6, 8 }, run(comm))
    end)
  end)

  it("all_to_all", function()
    mosaic.virtual(2, function(comm)
      local x = (mosaic.arange(1, 4):to "f32" + 10 * comm.rank):view(4, 1)
      local run = into_columns(function(request, handle, out)
        return C.mosaic_comm_all_to_all(request, handle, out, x.c, 0, TWO_EACH, 1, ONE_EACH, 0)
      end)
      assert.same(comm.rank == 0 and { 1, 2, 11, 12 } or { 3, 4, 13, 14 }, run(comm))
    end)
  end)

  it("broadcast", function()
    mosaic.virtual(2, function(comm)
      local x = mosaic.tensor { { 1, 2 }, { 3, 4 } }
      local run = into_columns(function(request, handle, out)
        return C.mosaic_comm_broadcast(request, handle, out, x.c, 1, 0)
      end)
      assert.same({ 1, 3, 2, 4 }, run(comm))
    end)
  end)
end)
