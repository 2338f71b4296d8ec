--- Rings of MPI ranks, one thread each, beside what the machine's cores allow and paced wires (../ranks.lua):
-- `scripts/bench/run ranks memory` has some of them.
local bench = require "bench"

return function(place)
  local function run(count, what, rows, environment)
    if not bench.selected { name = what } then return end
    bench.rows_of(("%s %s/mosaic-lua -n %d scripts/bench/ranks.lua %s %d %s"):format(environment or "env",
      place.build, count, what, rows, bench.brief and "brief" or ""))
  end
  run(2, "speed", 8192)
  run(2, "memory", 8192)
  run(4, "memory", 8192)
  for _, gbit in ipairs { 10, 1, 0.4, 0.2 } do run(2, "overlap", 4096, "MOSAIC_PACE=20:" .. gbit) end
end
