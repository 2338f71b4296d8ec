local comm = require("mosaic.comm").world()

describe("the MPI communicator", function()
  for _, name in ipairs { "comm_cases", "comm_messages", "comm_gradients" } do
    for _, case in ipairs(require("spec.support." .. name)) do
      it(case[1], function() case[2](comm) end)
    end
  end
end)
