--- The largest error over many comparisons: which one came nearest to its bound.
--
--   local worst = measure.new()
--   worst:add("dq, ring 3", got, expected, function(scale) return 1e-10 * scale end)
--   worst.error, worst.bound   of that comparison, as shares of the expected tensor's largest value
--   worst.ratio                error / bound; above 1 is a failure, also for NaN or wrong sizes
local measure = {}
measure.__index = measure

function measure.new()
  return setmetatable({ ratio = -1, error = 0, bound = 0, where = "nothing compared" }, measure)
end

--- The largest finite magnitude.
function measure.largest(values)
  local largest = 0
  for _, value in ipairs(values) do
    local size = math.abs(value)
    if size < math.huge and size > largest then largest = size end
  end
  return largest
end

--- One unit in the last place of an f32 of this size.
function measure.ulp(x)
  local _, exponent = math.frexp(x)
  return 2 ^ (math.max(exponent, -125) - 24)
end

--- |got - expected| less half a unit in the last place of what the reference is stored in; infinite
-- for a NaN and unless both are the same infinity.
local function difference(got, expected, stored)
  if got == expected then return 0 end
  local d = math.abs(got - expected) - math.abs(expected) * stored
  return d < math.huge and math.max(d, 0) or math.huge
end

--- The largest difference of two flat lists of equal length.
function measure.distance(got, expected, stored)
  if #got ~= #expected then return math.huge end
  local worst = 0
  for i = 1, #expected do worst = math.max(worst, difference(got[i], expected[i], stored or 0)) end
  return worst
end

local function same_shape(a, b)
  return a:numel() == b:numel() and table.concat(a.shape, ",") == table.concat(b.shape, ",")
end

--- got, expected: tensors. bound(scale): the allowed error for a tensor whose largest value is scale.
-- options.whole: the largest value of the whole case, which stands in for that of a tensor that is
-- zero but for rounding: such a one has no scale of its own.
function measure:add(where, got, expected, bound, options)
  local values = expected:flat()
  local scale, whole = measure.largest(values), options and options.whole or 0
  if scale < 1e-9 * whole then scale = whole end
  local stored = expected.dtype == "f32" and 2 ^ -24 or 0
  local distance = same_shape(got, expected) and measure.distance(got:flat(), values, stored) or math.huge
  local allowed = bound(scale)
  local ratio = distance == 0 and 0 or distance / allowed
  if ratio > self.ratio then
    local unit = scale > 0 and scale or 1
    self.ratio, self.error, self.bound, self.where = ratio, distance / unit, allowed / unit, where
  end
end

return measure
