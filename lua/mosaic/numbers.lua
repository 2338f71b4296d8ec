--- The numbers among attention's options, checked: scale, dropout, and where a call lies in the whole.
local check = require "mosaic.check"

local numbers = {}

--- The factor of the products q.k; nil (the default, 1/sqrt(d)) stays nil.
function numbers.scale(where, value)
  if value == nil or type(value) == "number" and math.abs(value) < math.huge then return value end
  check.fail("%s: scale must be a finite number, got %s", where, check.show(value))
end

--- p and seed of dropout = { p = 0.1, seed = 7 }; 0, 0 for nil.
function numbers.dropout(where, value)
  if value == nil then return 0, 0 end
  where = where .. ": dropout"
  check.options(where, value, { "p", "seed" })
  local p = check.option(where, value, "p", "number")
  if not (p >= 0 and p < 1) then check.fail("%s: p must be in [0, 1), got %s", where, check.show(p)) end
  return p, check.integer(where, "seed", check.option(where, value, "seed", "number"), 0)
end

--- head_from, batch_from of the last two batch axes, and batch_total (nil: unknown); all from 1.
function numbers.place(where, options)
  local head, from, total = options.head_from or 1, options.batch_from or {}, options.batch_total
  if type(from) ~= "table" or #from > 2 then
    check.fail("%s: batch_from must be a list of at most 2 integers, got %s", where,
      type(from) == "table" and #from .. " of them" or check.show(from))
  end
  for i = 1, #from do check.integer(where, ("batch_from[%d]"):format(i), from[i], 1) end
  check.integer(where, "head_from", head, 1)
  if total ~= nil then check.integer(where, "batch_total", total, 1) end
  return head, from[#from - 1] or 1, from[#from] or 1, total
end

--- The same as text: what ranks that share the rows agree on.
function numbers.describe_place(options)
  local head, b1, b2, total = numbers.place("", options)
  return ("head_from=%d batch_from={%d, %d} batch_total=%s"):format(head, b1, b2, total or "own")
end

return numbers
