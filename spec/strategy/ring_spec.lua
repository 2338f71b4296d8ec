local mosaic = require "mosaic"
local contract = require "spec.support.contract"

describe("ring", function()
  contract(it, "ring")
  contract(it, { "ring", directions = 2 }, { ranks = { 2, 3, 4 } })

  it("computes again in backward what an inner strategy without a backward of its own did", function()
    local attend = mosaic.strategy.get("local").body.attend
    contract(function(_, body) body() end, function(comm, q, k, v, plan)
      return mosaic.rotate(comm, q, k, v, plan, { inner = function(...) return attend(...) end })
    end, { ranks = { 3 }, lengths = { 0, 7, 13 } })
  end)
end)

describe("local", function()
  contract(it, "local", { ranks = { 1 } })
end)
