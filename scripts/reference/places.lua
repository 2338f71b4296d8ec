--- Where every case runs: in this process alone, through the ring on 1, 2, 3 and 5 virtual ranks, and through
-- every other exact strategy there is. `body(comm, layout, strategy)` returns the whole results on rank 0;
-- comm is nil for the local run.
local mosaic = require "mosaic"
local strategies = require "reference.strategies"

local RINGS = { 1, 2, 3, 5 }

--- Calls visit(name, result) for the local run, for the ring in each of the layouts, and for the other
-- strategies on each of the `sizes` (a list; nil: for none), the layouts taking turns.
return function(layouts, body, visit, sizes)
  local function over(name, strategy, ranks, layout)
    local results = mosaic.comm.spawn(ranks, function(comm) return body(comm, layout, strategy) end)
    visit(("%s %d%s"):format(name, ranks, #layouts > 1 and " " .. layout or ""), results[1])
  end
  visit("local", body(nil, nil, "local"))
  for _, ranks in ipairs(RINGS) do
    for _, layout in ipairs(layouts) do over("ring", "ring", ranks, layout) end
  end
  for _, other in ipairs(sizes and strategies or {}) do
    for i, ranks in ipairs(sizes) do
      over(other.name, other.wanted, ranks, layouts[(i - 1) % #layouts + 1])
    end
  end
end
