--- Column statistics of rows that are spread over ranks, merged exactly.
--
-- Each rank brings count, mean, M2 (the sum of squared differences from the mean), least and greatest;
-- two sets merge by Chan's formula, in rank order, in f64: every rank computes the same bits.
local mosaic = require "mosaic"

local statistics = {}

--- x f64 (tables, rows, columns) -> (4, tables, columns): mean, M2, least, greatest of these rows
local function of_rows(x)
  local shape = x.shape
  if shape[2] == 0 then return mosaic.zeros { 4, shape[1], shape[3], dtype = "f64" } end
  local mean = x:mean(2, true)
  local m2 = (x - mean):square():sum(2)
  return mosaic.stack({ mean:squeeze(2), m2, (x:min(2)), (x:max(2)) }, 1)
end

--- Two sets of statistics as one; n, m: their counts, both above 0.
local function merge(a, n, b, m)
  local delta = b.mean - a.mean
  return {
    mean = a.mean + delta * (m / (n + m)),
    m2 = a.m2 + b.m2 + delta:square() * (n * m / (n + m)),
    least = a.least:minimum(b.least),
    greatest = a.greatest:maximum(b.greatest),
  }
end

local function unpacked(packed)
  return { mean = packed[1], m2 = packed[2], least = packed[3], greatest = packed[4] }
end

--- x (tables, rows, columns): this rank's rows. counts[rank + 1]: how many rows every rank brings.
-- Returns, per table and column (tables, 1, columns): mean, the unbiased standard deviation, and whether
-- all rows are equal (u8).
function statistics.merged(comm, x, counts)
  local packed = of_rows(x:to "f64")
  local all = comm.size > 1 and comm:all_gather(packed:unsqueeze(1), 1) or packed:unsqueeze(1)
  local total, n = nil, 0
  for rank, count in ipairs(counts) do
    if count > 0 then
      local own = unpacked(all[rank])
      total = total and merge(total, n, own, count) or own
      n = n + count
    end
  end
  return total.mean:unsqueeze(2), (total.m2 / (n - 1)):sqrt():unsqueeze(2),
    total.least:eq(total.greatest):unsqueeze(2)
end

return statistics
