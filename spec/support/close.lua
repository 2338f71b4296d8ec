--- `close(actual, expected, bound)`: tensors, nested lists or numbers of the same shape whose elements
-- differ by at most `bound` (default 1e-12) times the largest expected magnitude, or times 1 where
-- that is smaller. NaN equals only NaN, an infinity only itself.
local assert = require "luassert"

local function flatten(value, into)
  if type(value) ~= "table" then
    into[#into + 1] = value
  elseif value.flat then
    for _, x in ipairs(value:flat()) do into[#into + 1] = x end
  else
    for _, x in ipairs(value) do flatten(x, into) end
  end
  return into
end

local function shape_of(value)
  if type(value) ~= "table" then return {} end
  if value.shape then return value.shape end
  local shape = shape_of(value[1])
  table.insert(shape, 1, #value)
  return shape
end

local function largest(values)
  local most = 1
  for _, x in ipairs(values) do
    local size = math.abs(x)
    if size > most and size < math.huge then most = size end
  end
  return most
end

return function(actual, expected, bound)
  assert.same(shape_of(expected), shape_of(actual))
  local a, e = flatten(actual, {}), flatten(expected, {})
  assert.equal(#e, #a)
  local room = (bound or 1e-12) * largest(e)
  for i, want in ipairs(e) do
    local got = a[i]
    local same = got == want or (got ~= got and want ~= want)
    if not same and not (math.abs(got - want) <= room) then
      error(("element %d is %.17g, expected %.17g (bound %.3g)"):format(i, got, want, room), 2)
    end
  end
end
