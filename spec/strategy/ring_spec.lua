local contract = require "spec.support.contract"

describe("ring", function()
  contract(it, "ring")
end)

describe("local", function()
  contract(it, "local", { ranks = { 1 } })
end)
