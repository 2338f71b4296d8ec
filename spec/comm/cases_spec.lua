local worlds = require "spec.support.worlds"

describe("a virtual communicator of 1 to 8 ranks", function()
  for _, name in ipairs { "comm_cases", "comm_messages" } do
    for _, case in ipairs(require("spec.support." .. name)) do
      it(case[1], function() worlds(case[2]) end)
    end
  end
end)
