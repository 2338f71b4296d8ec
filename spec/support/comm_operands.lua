--- Operands of the specs of communicators, and what those expect: spec/support/comm_*.lua.
local assert = require "luassert"
local mosaic = require "mosaic"

local operands = { dtypes = { "f32", "f64", "bf16", "f16", "i32", "i64", "u8" } }

--- Element i of rank r: small integers, exact in every dtype and different everywhere that matters.
function operands.value(r, i) return (r * 7 + i * 3) % 11 end

function operands.filled(r, shape, dtype)
  local x = mosaic.empty { dtype = dtype or "f64", unpack(shape) }
  local values, count = {}, x:numel()
  for i = 1, count do values[i] = operands.value(r, i) end
  return mosaic.tensor(values, { dtype = x.dtype }):view(shape)
end

--- Sizes along an axis that differ from rank to rank and are sometimes 0.
function operands.uneven(size)
  local sizes = {}
  for r = 0, size - 1 do sizes[r + 1] = (r * 2 + 1) % 4 end
  return sizes
end

--- Of the first `last` sizes, or all.
function operands.sum_of(sizes, last)
  local total = 0
  for i = 1, last or #sizes do total = total + sizes[i] end
  return total
end

--- x has these elements.
function operands.same(expected, x)
  local got = x:flat()
  assert(#expected == #got, ("expected %d elements, got %d"):format(#expected, #got))
  for i, e in ipairs(expected) do
    if not (got[i] == e) then
      error(("element %d is %.17g, expected %.17g (%s)"):format(i, got[i], e, x:describe()), 2)
    end
  end
end

--- f folds the elements of all ranks, in their order.
function operands.reduced(size, count, f)
  local result = {}
  for i = 1, count do
    local total = operands.value(0, i)
    for r = 1, size - 1 do total = f(total, operands.value(r, i)) end
    result[i] = total
  end
  return result
end

--- The body raises an error with that text.
function operands.refused(text, body)
  local ok, message = pcall(body)
  assert(not ok, "no error was raised; expected: " .. text)
  assert(message:find(text, 1, true), ("expected %q in %q"):format(text, message))
end

return operands
