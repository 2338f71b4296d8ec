local worlds = require "spec.support.worlds"

describe("derivatives between virtual ranks", function()
  for _, case in ipairs(require "spec.support.comm_gradients") do
    it(case[1], function() worlds(case[2], { 1, 2, 3, 5 }) end)
  end
end)
