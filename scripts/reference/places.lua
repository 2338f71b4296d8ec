--- Where every case runs: in this process alone, and through the ring on 1, 2, 3 and 5 virtual ranks.
-- `body(comm, layout)` returns the whole results on rank 0; comm is nil for the local run.
local mosaic = require "mosaic"

local RINGS = { 1, 2, 3, 5 }

--- Calls visit(name, result) for the local run and for the ring in each of the layouts.
return function(layouts, body, visit)
  visit("local", body(nil, nil))
  for _, ranks in ipairs(RINGS) do
    for _, layout in ipairs(layouts) do
      local results = mosaic.comm.spawn(ranks, function(comm) return body(comm, layout) end)
      visit(("ring %d%s"):format(ranks, #layouts > 1 and " " .. layout or ""), results[1])
    end
  end
end
