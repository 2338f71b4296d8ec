local terminal = require "mosaic.terminal"
local world = require "mosaic.host.world"

describe("a rank of a launched job", function()
  it("knows its place without MPI", function()
    local place = world.find()
    local size = tonumber(os.getenv "MOSAIC_LAUNCHED" or 1)
    assert.equal(size, place.size)
    assert(place.rank >= 0 and place.rank < size)
  end)

  it("has its share of the cores, one thread at least", function()
    local C = require "mosaic.ffi"
    assert(C.mosaic_threads() >= 1)
    if os.getenv "MOSAIC_LAUNCHED" then
      assert.equal(tonumber(os.getenv "MOSAIC_THREADS"), C.mosaic_threads())
    end
  end)

  it("sees a terminal only where the launcher has one", function()
    if os.getenv "MOSAIC_LAUNCHED" then
      local columns = tonumber(os.getenv("MOSAIC_TTY"):match "^%d+")
      assert.equal(columns > 0 and columns or nil, terminal.columns())
    end
  end)
end)
