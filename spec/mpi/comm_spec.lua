local comm = require("mosaic.comm").world()

describe("the MPI communicator", function()
  for _, case in ipairs(require "spec.support.comm_cases") do
    it(case[1], function() case[2](comm) end)
  end
  for _, case in ipairs(require "spec.support.comm_gradients") do
    it(case[1], function() case[2](comm) end)
  end
end)
