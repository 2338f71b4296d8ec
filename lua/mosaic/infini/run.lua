--- Infini-attention on checked arguments: rows to the ranks that compute them, both kinds of attention,
-- and the rows of the result back.
local attention = require "mosaic.attention"
local check = require "mosaic.check"
local create = require "mosaic.tensor.create"
local join = require "mosaic.tensor.join"
local memory = require "mosaic.infini.memory"
local segments = require "mosaic.infini.segments"
local State = require "mosaic.infini.state"
local Tensor = require "mosaic.tensor"

--- x with its position encoding, which counts from row `first` (0-based).
local function encode(call, x, first)
  if not call.encode then return x end
  local y = call.encode(x, create.runs({ { first + 1, 1, x:size(3) } }, x.device))
  if not Tensor.is(y) or y.dtype ~= x.dtype or table.concat(y.shape, ",") ~= table.concat(x.shape, ",") then
    check.fail("infini_attention: encode must return a tensor like its argument, %s, got %s", x:describe(),
      check.show(y))
  end
  return y
end

--- One group of segments: the gated mean of what both kinds of attention say.
local function mix(call, group, memories, q, dot_q, dot_k, v)
  local dot = attention.sdpa(dot_q, dot_k, v, {
    scale = call.scale, mask = { causal = true, alibi = call.alibi },
    q_positions = create.runs({ { group.keys - group.rows + 1, 1, group.rows } }, dot_q.device),
  })
  local read = memory.read(q, memories:narrow(2, group.memory, group.segments))
  return segments.join(dot:lerp(read, call.gate))
end

--- The result for rows q, which begin at row `first` (0-based) of the sequence; k and v have the `open`
-- rows before them, too.
local function attend(call, memories, q, k, v, first, open)
  local groups, parts = segments.groups(q:size(3), open, call.segment), {}
  local rows, values = segments.split(q, groups, "rows"), segments.split(v, groups, "keys")
  local dot_rows = call.encode and segments.split(encode(call, q, first), groups, "rows") or rows
  local keys = segments.split(encode(call, k, first - open), groups, "keys")
  for i, group in ipairs(groups) do
    parts[i] = mix(call, group, memories, rows[i], dot_rows[i], keys[i], values[i])
  end
  return join.cat(parts, 3)
end

--- The rows of lower ranks.
local function rows_before(comm, counts)
  local rows = 0
  for i = 1, comm.rank do rows = rows + counts[i] end
  return rows
end

--- call: what prepare.lua makes. Returns this rank's rows of the result, and with call.wants_state the
-- state after all rows.
return function(call)
  local comm, w, state = call.comm, call.segment, call.state
  local counts = segments.counts(call.counts, w, call.open)
  local function move(x, wire) return segments.move(comm, x, call.counts, counts, wire) end
  local q, k, v = move(call.q), move(call.k, call.wire), move(call.v, call.wire)
  local before = rows_before(comm, counts)
  local open = before == 0 and q:size(3) > 0 and call.open or 0
  if open > 0 then k, v = join.cat({ state.keys, k }, 3), join.cat({ state.values, v }, 3) end
  local memories = memory.before(call.update, comm, segments.whole(k, w), segments.whole(v, w), state.memory)
  local out = attend(call, memories, q, k, v, state.rows + before, open)
  out = segments.move(comm, out, counts, call.counts):reshape(call.shape)
  return out, call.wants_state and State.after(call, k, v, memories, counts) or nil
end
