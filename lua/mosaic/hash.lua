--- A number that stands for many: what ranks compare. Different texts or numbers give different ones (by
-- all but chance).
local ffi = require "ffi"

local hash = {}

local function add(sum, value) return (sum * 1000003 + value) % 2147483647 end

--- Of a text, going on from the hash of what came before (nothing: 0).
function hash.text(text, sum)
  sum = add(sum or 0, #text)
  for i = 1, #text do sum = add(sum, text:byte(i)) end
  return sum
end

--- Of a list of numbers, every bit of each: -math.huge, NaN and the smallest differences count.
function hash.numbers(list, sum)
  local count = #list
  local values, words = ffi.new("double[?]", count), ffi.new("uint32_t[?]", 2 * count)
  for i = 1, count do values[i - 1] = list[i] end
  ffi.copy(words, values, 8 * count) -- copied: the same memory may not be read as another type
  sum = add(sum or 0, count)
  for i = 0, 2 * count - 1 do sum = add(sum, words[i]) end
  return sum
end

return hash
