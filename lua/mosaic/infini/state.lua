--- What Infini-attention carries from one piece of a sequence to the next: of constant size.
--
--   state.memory        (b, kv heads, d, d + 1): M and z of every head after the last whole segment
--   state.keys, values  (b, kv heads, rows, d): those of the segment that is still open
--   state.rows          how many rows there were so far
--   state:detach()      the same, cut off the tape
-- b is the product of the batch axes.
local check = require "mosaic.check"
local class = require "mosaic.class"
local Function = require "mosaic.autograd.function"
local create = require "mosaic.tensor.create"
local memory = require "mosaic.infini.memory"
local Tensor = require "mosaic.tensor"

local State = class("InfiniState")

function State:init(fields)
  for name, value in pairs(fields) do self[name] = value end
end

function State:detach()
  return State { memory = self.memory:detach(), keys = self.keys:detach(), values = self.values:detach(),
    rows = self.rows }
end

--- No rows of what x (b, kv heads, n, d) is.
local function no_rows(x)
  return create.empty { x:size(1), x:size(2), 0, x:size(4), dtype = x.dtype, device = x.device }
end

local function expect(where, name, t, shape, dtype)
  local fits = Tensor.is(t) and t.dtype == dtype and table.concat(t.shape, ",") == table.concat(shape, ",")
  if not fits then
    check.fail("%s: state.%s must be %s [%s], got %s", where, name, dtype, table.concat(shape, ","),
      check.show(t))
  end
end

--- The state before k and v (b, kv heads, n, d), from what the caller gave; {} and nil: the first rows.
function State.before(where, given, k, v, segment)
  if given ~= nil and type(given) ~= "table" then
    check.fail("%s: state must be {} or what an earlier call returned, got %s", where, check.show(given))
  end
  local empty = memory.empty(k)
  if given == nil or next(given) == nil then
    return State { memory = empty, keys = no_rows(k), values = no_rows(v), rows = 0 }
  end
  local open = check.integer(where, "state.rows", given.rows, 0) % segment
  local shape = { k:size(1), k:size(2), open, k:size(4) }
  expect(where, "memory", given.memory, empty.shape, empty.dtype)
  expect(where, "keys", given.keys, shape, k.dtype)
  expect(where, "values", given.values, shape, v.dtype)
  return State(given)
end

-- share(comm, roots, x1, x2 ...): on every rank x1 as roots[1] has it, and so on; the other ranks bring
-- anything of its shape. One operation, so that every rank that uses any of them takes part in backward.
local share = Function("infini.share", {
  forward = function(ctx, comm, roots, ...)
    local shared = { ... }
    ctx.comm, ctx.roots, ctx.sizes = comm, roots, {}
    for i, x in ipairs(shared) do
      ctx.sizes[i] = { dtype = x.dtype, device = x.device, unpack(x.shape) }
      shared[i] = comm:broadcast(x, roots[i])
    end
    return unpack(shared)
  end,
  backward = function(ctx, ...)
    local gradients = {}
    for i, root in ipairs(ctx.roots) do
      local sum = ctx.comm:reduce(select(i, ...) or create.zeros(ctx.sizes[i]), root)
      gradients[i] = ctx.comm.rank == root and sum or nil
    end
    return nil, nil, unpack(gradients, 1, #ctx.roots)
  end,
  collective = true,
})

--- The last `rows` rows of x (b, kv heads, n, d) as a copy, so that the rest of x can go. A rank that
-- does not have them makes up some.
local function last_rows(x, rows, has_them)
  if has_them then return x:narrow(3, x:size(3) - rows + 1, rows):clone() end
  return x:zeros_of { x:size(1), x:size(2), rows, x:size(4) }
end

--- The state after a call. k and v are this rank's with the open rows before them, memories those of
-- memory.before, counts how many rows each rank computed.
function State.after(call, k, v, memories, counts)
  local comm, total, last = call.comm, 0, 0 -- `last` has the last row
  for i, count in ipairs(counts) do
    total = total + count
    if count > 0 then last = i - 1 end
  end
  if total == 0 then return call.state end
  local rows, has_them = (call.open + total) % call.segment, comm.rank == last
  local m, keys, values = memories:select(2, memories:size(2)):clone(), last_rows(k, rows, has_them),
    last_rows(v, rows, has_them)
  if comm.size > 1 then
    m, keys, values = share(comm, { comm.size - 1, last, last }, m, keys, values)
  end
  return State { memory = m, keys = keys, values = values, rows = call.state.rows + total }
end

return State
