local worlds = require "spec.support.worlds"

describe("a virtual communicator of 1 to 8 ranks", function()
  for _, case in ipairs(require "spec.support.comm_cases") do
    it(case[1], function() worlds(case[2]) end)
  end
end)
