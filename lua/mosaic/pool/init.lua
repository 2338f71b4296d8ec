--- Blocks of rows, each brought into one row.
--
--   pool(x, blocks, ratio, body)     x (.., rows, d) -> (.., blocks, d)
--
-- blocks (tiers/blocks.lua) says which stored rows are cut together into blocks of `ratio`, the last one of
-- what is left. body: a function(x (.., blocks, m, d)) -> (.., blocks, d), by default the mean; m is ratio,
-- or less for what is left.
local check = require "mosaic.check"
local create = require "mosaic.tensor.create"
local join = require "mosaic.tensor.join"
local Tensor = require "mosaic.tensor"

--- The stored rows of some runs, in order.
local function rows_of(x, runs)
  if #runs == 1 then return x:narrow(-2, runs[1].place, runs[1].count) end
  local places = {}
  for i, run in ipairs(runs) do places[i] = { run.place, 1, run.count } end
  return x:index_select(-2, create.runs(places, x.device))
end

local function mean(x) return x:mean(-2) end

local function check_result(y, shape)
  local wanted = { unpack(shape) }
  table.remove(wanted, #wanted - 1)
  local list = table.concat(wanted, ",")
  if Tensor.is(y) and table.concat(y.shape, ",") == list then return y end
  check.fail("pool: blocks [%s] must become rows [%s], got %s", table.concat(shape, ","), list,
    Tensor.is(y) and y:describe() or check.show(y))
end

--- body's rows for `count` blocks of m rows each, from row `first` of x on.
local function apply(body, x, first, count, m)
  local shape = x.shape
  local d = table.remove(shape)
  shape[#shape] = count
  shape[#shape + 1], shape[#shape + 2] = m, d
  return check_result(body(x:narrow(-2, first, count * m):reshape(shape)), shape)
end

return function(x, blocks, ratio, body)
  local rows, parts, at = rows_of(x, blocks.runs), {}, 1
  body = body or mean
  for _, count in ipairs(blocks.cuts) do
    local rest = count % ratio
    if count > rest then parts[#parts + 1] = apply(body, rows, at, (count - rest) / ratio, ratio) end
    if rest > 0 then parts[#parts + 1] = apply(body, rows, at + count - rest, 1, rest) end
    at = at + count
  end
  return #parts > 0 and join.cat(parts, -2) or rows
end
