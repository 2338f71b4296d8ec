--- Checks what the ranks bring to Infini-attention, before anything is computed or sent.
local check = require "mosaic.check"
local context = require "mosaic.context"
local masks = require "mosaic.mask"
local memory = require "mosaic.infini.memory"
local numbers = require "mosaic.numbers"
local state = require "mosaic.state"
local State = require "mosaic.infini.state"
local Tensor = require "mosaic.tensor"

local prepare = {}

local WHERE = "infini_attention"
local OPTIONS = { "segment", "beta", "update", "state", "comm", "encode", "alibi", "scale" }

local function fail(format, ...) check.fail(WHERE .. ": " .. format, ...) end

--- q and k of one batch and head size, k a multiple of whose heads q has, v like k.
local function check_operands(q, k, v)
  for name, t in pairs { q = q or false, k = k or false, v = v or false } do
    if not Tensor.is(t) or t.ndim < 3 or not t.dtype:match "f" then
      fail("%s must be a float tensor (..., heads, rows, d), got %s", name, check.show(t))
    end
  end
  local heads, kv_heads = q:size(-3), k.ndim == q.ndim and k:size(-3) or 0
  local wanted = q.shape
  wanted[#wanted - 2] = kv_heads
  local shape = table.concat(wanted, ",")
  if table.concat(k.shape, ",") ~= shape or heads % kv_heads ~= 0 then
    fail("k must have q's sizes (%s) and heads that divide its %d, got %s", q:describe(), heads, k:describe())
  elseif table.concat(v.shape, ",") ~= shape then
    fail("v must have k's sizes (%s), got %s", k:describe(), v:describe())
  elseif q.dtype ~= k.dtype or k.dtype ~= v.dtype then
    fail("q, k and v must have one dtype, got %s, %s and %s", q.dtype, k.dtype, v.dtype)
  elseif q:size(-1) < 1 or q:size(-1) > 256 then
    fail("the head size must be 1..256, got %d (%s)", q:size(-1), q:describe())
  end
end

--- (..., heads, n, d) as (b, heads, n, d): a view wherever the strides allow one.
local function fold(x)
  local shape = x.shape
  local n = #shape
  if n == 4 then return x end
  local batch = 1
  for i = 1, n - 3 do batch = batch * shape[i] end
  return x:reshape(batch, shape[n - 2], shape[n - 1], shape[n])
end

--- The gate of each head, (heads, 1, 1).
local function gate_of(beta, q)
  local heads = q:size(2)
  if not Tensor.is(beta) or beta.ndim ~= 1 or beta:size(1) ~= heads then
    fail("beta must be a tensor of %d numbers, one a head, got %s", heads, check.show(beta))
  end
  return beta:to(q.dtype == "f64" and "f64" or "f32"):sigmoid():view(heads, 1, 1)
end

--- The slopes of ALiBi as a tensor (nil: none).
local function slopes_of(alibi, heads, device)
  local slopes = masks.normal(WHERE, { alibi = alibi }, device).alibi
  if slopes and (slopes.ndim ~= 1 or slopes:size(1) ~= heads) then
    fail("alibi must be %d slopes, one a head, got %s", heads, slopes:describe())
  end
  return slopes
end

--- This rank's part of a call as one table, checked as far as it can tell alone. The options are those of
-- mosaic.infini_attention.
function prepare.own(q, k, v, options)
  check_operands(q, k, v)
  local shape = q.shape
  q, k, v = fold(q), fold(k), fold(v)
  local segment, encode = check.integer(WHERE, "segment", options.segment, 1), options.encode
  if encode ~= nil then check.callable(WHERE, "encode", encode) end
  local before = State.before(WHERE, options.state, k, v, segment)
  return {
    q = q, k = k, v = v, shape = shape, segment = segment,
    state = before, open = before.keys:size(3), wants_state = options.state ~= nil,
    update = check.one_of(WHERE, "update", options.update or "linear", memory.UPDATES),
    gate = gate_of(options.beta, q), alibi = slopes_of(options.alibi, q:size(2), q.device),
    scale = numbers.scale(WHERE, options.scale), encode = encode,
  }
end

--- The shape without its rows, as text.
local function frame(t)
  return ("%s [%d,%d,n,%d]"):format(t.dtype, t:size(1), t:size(2), t:size(4))
end

--- What all ranks must have in common.
local function facts(call)
  return {
    q = frame(call.q), k = frame(call.k), segment = call.segment, update = call.update,
    scale = call.scale or "default", alibi = masks.describe { alibi = call.alibi },
    encode = call.encode ~= nil, state = call.wants_state and call.state.rows or "none",
    recording = state.current.recording,
  }
end

--- The same, with call.comm and call.counts, the rows that each rank brings. Fails on every rank, before
-- anything else is sent, where one rank's part is wrong or the ranks' parts do not belong together.
function prepare.all(q, k, v, options)
  options = check.kind(WHERE, "the options", options or {}, "table")
  local comm, call = context.comm(WHERE, options.comm, "sp"), nil
  local rows = comm:together(WHERE, function()
    check.options(WHERE, options, OPTIONS)
    call = prepare.own(q, k, v, options)
    return facts(call), { rows = call.q:size(3) }
  end)
  call.comm, call.counts = comm, {}
  for i, row in ipairs(rows) do call.counts[i] = row.rows end
  return call
end

return prepare
