--- `bytes(strategy, ranks, { batch, heads, kv_heads, rows, d }, options)`: what each rank sends in a forward
-- pass, counted over all communicators; the strategy's own `volume` must say the same.
-- options: mask (of every rank), layout, wire, dtype ("f32"), key_rows (rows).
local assert = require "luassert"
local mosaic = require "mosaic"
local fill = require "spec.support.fill"

--- The bytes that went out through a communicator and what it was split into.
local function sent_through(comm)
  local total = 0
  for _, counters in pairs(comm:counters()) do total = total + counters.bytes_sent end
  for _, pair in pairs(comm.grids or {}) do
    for _, part in ipairs(pair) do total = total + sent_through(part) end
  end
  return total
end

local function reset(comm)
  comm:reset_counters()
  for _, pair in pairs(comm.grids or {}) do
    for _, part in ipairs(pair) do reset(part) end
  end
end

--- The strategy, which also notes the bytes of its own messages and those that it says it sends.
local function measured(strategy, sizes, note)
  local found = mosaic.strategy.get(strategy)
  return function(comm, q, k, v, plan)
    found.body.attend(comm, q, k, v, plan:with { options = found.options }) -- splits communicators
    reset(comm)
    local out, lse = found.body.attend(comm, q, k, v, plan:with { options = found.options })
    local bytes = q:element_size()
    note(sent_through(comm), found.body.volume(plan:with { options = found.options }, {
      batch = sizes[1], heads = sizes[2], kv_heads = sizes[3], d = sizes[5], bytes = bytes,
      out_bytes = math.max(4, bytes),
    }))
    return out, lse
  end
end

return function(strategy, ranks, sizes, options)
  options = options or {}
  local batch, heads, kv_heads, rows, d = unpack(sizes)
  return mosaic.virtual(ranks, function(comm)
    local function part(h, count, seed)
      local x = fill({ batch, h, count, d }, { seed = seed }):to(options.dtype or "f32")
      return mosaic.shard(x, { axis = 3, comm = comm, layout = options.layout })
    end
    local sent, predicted
    local key_rows = options.key_rows or rows
    mosaic.attend(part(heads, rows, 1), part(kv_heads, key_rows, 2), part(kv_heads, key_rows, 3), {
      comm = comm, layout = options.layout, mask = options.mask, wire = options.wire,
      strategy = measured(strategy, sizes, function(...) sent, predicted = ... end),
    })
    assert.equal(predicted, sent)
    return sent
  end)
end
