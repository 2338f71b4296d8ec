--- Attention kernels as a share of the multiply-adds that the core can do (a program in C).
local bench = require "bench"

return function(place)
  bench.rows_of(("%s/bench_attention '%s' %d"):format(place.build, bench.part, bench.rounds()))
end
