--- `bytes(strategy, ranks, { batch, heads, kv_heads, rows, d }, options)`: what each rank sends in a forward
-- pass, counted over all communicators; the strategy's own `volume` must say the same.
-- options: mask (of every rank), layout, wire, dtype ("f32"), key_rows (rows).
local assert = require "luassert"
local mosaic = require "mosaic"
local fill = require "spec.support.fill"

--- The strategy, which also notes the bytes of its own messages and those that it says it sends.
local function measured(strategy, note)
  local found = mosaic.strategy.get(strategy)
  return function(comm, q, k, v, plan)
    found.body.attend(comm, q, k, v, plan:with { options = found.options }) -- splits communicators
    local before = comm:bytes_sent()
    local out, lse = found.body.attend(comm, q, k, v, plan:with { options = found.options })
    note(comm:bytes_sent() - before,
      found.body.volume(plan:with { options = found.options }, mosaic.strategy.sizes(q, k, v)))
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
      strategy = measured(strategy, function(...) sent, predicted = ... end),
    })
    assert.equal(predicted, sent)
    return sent
  end)
end
