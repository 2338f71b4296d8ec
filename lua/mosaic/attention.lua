--- Scaled dot-product attention: tiled, exact, differentiable, on any axis of any tensor.
--
--   mosaic.sdpa(q, k, v, options) -> out, lse
--   mosaic.merge(out1, lse1, out2, lse2) -> out, lse
--
-- q (batch..., heads, nq, d), k and v (batch..., kv_heads, nk, d) with any strides, up to two batch
-- axes, heads a multiple of kv_heads, d 1..256. out has q's sizes, lse those without d: the natural
-- logarithm of the sum of exponentials (-inf and out 0 where a query sees no key). out is f32, or
-- f64 for f64 operands; lse is f64, because every probability inherits its error.
-- options: scale (default 1/sqrt(d)), q_positions and k_positions (i64 tensors or lists, default
-- 1..n), and mask, a table whose entries all have to let a key pass:
--   causal = true            key position <= query position
--   window = w | {left, right}  query position - left <= key position <= query position + right
--   prefix = T               key position <= T
--   documents = ids | {q = ids, k = ids}   equal ids see each other
--   keep = u8 tensor         nonzero means attend; broadcasts to (batch..., heads, nq, nk)
--   keep = function(b, h, i, j) return j <= i end   of the global numbers of batch entry, head, query, key
-- or which adds to the scores:
--   alibi = slopes           -slope (query position - key position), one slope a head; no gradient
--   bias = tensor            broadcasts like keep; differentiable
-- or which changes them, after these and before keys are hidden (see program/init.lua for functions):
--   score = function(s, b, h, i, j) return s - slope[h] * (i - j) end
-- dropout = { p = 0.1, seed = 7 } sets a probability to 0 with chance p and divides it by 1 - p otherwise,
-- after the sum: lse does not change. Which ones depends on the seed and the pair's batch entry, head and
-- positions in the whole only, so the ranks that share the work agree.
-- The rest says where this call's heads and batch entries lie in a whole that is spread over ranks, for what
-- goes by their numbers (all from 1; default: this call is the whole):
--   head_from = h            number of the first query head here
--   batch_from = {b1, b2}    number of the first index here along each batch axis, the last one last
--   batch_total = n          size of the whole last batch axis; entry (b1, b2) is (b1 - 1) n + b2
-- Keys that no query sees cost nothing; what they hold must still be finite.
--
-- Strategies use the pieces, which record nothing: forward, delta, backward, merge_.
--
--   attention.work() -> { forward, backward, forward_tiles, backward_tiles }   pairs of this rank so far
--   attention.reset_work()
local ffi = require "ffi"
local check = require "mosaic.check"
local create = require "mosaic.tensor.create"
local Function = require "mosaic.autograd.function"
local masks = require "mosaic.mask"
local numbers = require "mosaic.numbers"
local places = require "mosaic.autograd.places"
local program = require "mosaic.program"
local Tensor = require "mosaic.tensor"
local work = require "mosaic.work"

local attention = { work = work.read, reset_work = work.reset }

local OPTIONS = {
  "scale", "mask", "q_positions", "k_positions", "dropout", "head_from", "batch_from", "batch_total",
}
local FORWARD_OPTIONS = { "out", "lse", unpack(OPTIONS) }
local BACKWARD_OPTIONS = { "into", "places", "bias_gradient", unpack(OPTIONS) }

local function expect_tensors(where, names, ...)
  for i, name in ipairs(names) do
    local value = select(i, ...)
    if not Tensor.is(value) then
      check.fail("%s: %s must be a tensor, got %s", where, name, check.show(value))
    end
  end
end

local setters = {}

function setters.causal(c, value) c.causal = value end
function setters.window(c, value) c.window_left, c.window_right = value[1], value[2] end
function setters.prefix(c, value) c.prefix = value end
function setters.documents(c, ids) c.q_documents, c.k_documents = ids.q.c, ids.k.c end
function setters.alibi(c, slopes) c.alibi = slopes.c end
function setters.score(c, score, device) c.score = score:on(device) end
function setters.keep(c, keep, device)
  if program.is(keep) then c.keep_if = keep:on(device) else c.keep = keep.c end
end
function setters.bias(c, bias) c.bias = bias.c end

--- Where the call's heads and batch entries lie in the whole; C counts from 0.
local function place(c, where, options)
  local head, b1, b2, total = numbers.place(where, options)
  c.head_from, c.batch_from[0], c.batch_from[1], c.batch_total = head - 1, b1 - 1, b2 - 1, total or 0
end

local anchors = setmetatable({}, { __mode = "k" }) -- C options -> the tensors that they point to

--- The options as a C struct.
local function compile(where, q, options)
  local scale = numbers.scale(where, options.scale)
  if scale == nil then scale = 1 / math.sqrt(tonumber(q.c.size[math.max(q.c.ndim - 1, 0)])) end
  local device = q.device
  local c, anchor = ffi.new "mosaic_attention_options", masks.normal(where, options.mask, device)
  c.scale, c.window_left, c.window_right, c.prefix = scale, -1, -1, -1
  c.dropout, c.dropout_seed = numbers.dropout(where, options.dropout)
  place(c, where, options)
  for name, value in pairs(anchor) do setters[name](c, value, device) end
  for _, name in ipairs { "q_positions", "k_positions" } do
    if options[name] ~= nil then
      anchor[name] = masks.as_tensor(where, name, options[name], "i64", device)
      c[name] = anchor[name].c
    end
  end
  anchors[c] = anchor
  return c
end

local function result_dtype(t) return t.dtype == "f64" and "f64" or "f32" end

--- A result for operand t, laid out in memory as t is: a view of a layer's projection gets a result
-- that the same views lead back from.
local function result_like(t)
  return Tensor.empty_in_order(t.shape, t:memory_order(), { dtype = result_dtype(t), device = t.device })
end

--- out, lse; written into options.out and options.lse (any strides) where they are given.
function attention.forward(q, k, v, options)
  options = check.options("sdpa", options or {}, FORWARD_OPTIONS)
  expect_tensors("sdpa", { "q", "k", "v" }, q, k, v)
  local c = compile("sdpa", q, options)
  local out, lse = options.out or result_like(q), options.lse
  local c_lse = lse and lse.c or Tensor.blank()
  check.call("mosaic_attention", out.c, c_lse, q.c, k.c, v.c, c)
  return out, lse or Tensor.wrap(c_lse)
end

--- Fails where sdpa would, before anything is computed.
function attention.check(q, k, v, options)
  check.call("mosaic_attention_check", q.c, k.c, v.c, compile("sdpa", q, options))
end

--- delta of all keys, for backward: sum over d of dout * out, less dlse (which may be nil).
function attention.delta(dout, out, dlse)
  expect_tensors("attention.delta", { "dout", "out" }, dout, out)
  local c = Tensor.blank()
  check.call("mosaic_attention_delta", c, dout.c, out.c, dlse and dlse.c)
  return Tensor.wrap(c)
end

--- dq, dk, dv (and dbias with bias_gradient) of these keys, given the final lse and delta.
-- options.into = { dq, dk, dv, dbias } adds to those tensors instead of making new ones; options.places =
-- { dq, dk, dv } writes to those that are given.
function attention.backward(dout, lse, delta, q, k, v, options)
  local where = "attention.backward"
  options = check.options(where, options or {}, BACKWARD_OPTIONS)
  expect_tensors(where, { "dout", "lse", "delta", "q", "k", "v" }, dout, lse, delta, q, k, v)
  local c = compile(where, q, options)
  local given = options.places or {}
  local g = options.into or {
    given[1] or result_like(q), given[2] or result_like(k), given[3] or result_like(v),
  }
  expect_tensors(where, { "into[1]", "into[2]", "into[3]" }, g[1], g[2], g[3])
  local dbias = options.bias_gradient and (g[4] and g[4].c or Tensor.blank()) or nil
  check.call("mosaic_attention_backward", g[1].c, g[2].c, g[3].c, dbias,
    dout.c, lse.c, delta.c, q.c, k.c, v.c, c, options.into ~= nil)
  if dbias and not g[4] then g[4] = Tensor.wrap(dbias) end
  return unpack(g)
end

--- Joins another partial result into (out, lse), in place.
function attention.merge_(out, lse, out2, lse2)
  expect_tensors("merge", { "out", "lse", "out2", "lse2" }, out, lse, out2, lse2)
  check.call("mosaic_attention_merge", out.c, lse.c, out.c, lse.c, out2.c, lse2.c)
  return out, lse
end

local function zeros_like(t)
  return create.zeros { dtype = t.dtype, device = t.device, unpack(t.shape) }
end

local sdpa = Function("sdpa", {
  pure = true,
  forward = function(ctx, q, k, v, _, options)
    ctx.options = options
    local out, lse = attention.forward(q, k, v, options)
    ctx:save("q", q)
    ctx:save("k", k)
    ctx:save("v", v)
    ctx:save("out", out)
    ctx:save("lse", lse)
    return out, lse
  end,
  backward = function(ctx, dout, dlse)
    dout = dout or zeros_like(ctx.out)
    local delta = attention.delta(dout, ctx.out, dlse)
    ctx.options.bias_gradient, ctx.options.places = ctx.needs[4], places(ctx.node, 1, 3, ctx.out.dtype)
    local dq, dk, dv, dbias = attention.backward(dout, ctx.lse, delta, ctx.q, ctx.k, ctx.v, ctx.options)
    delta:free()
    return dq, dk, dv, dbias
  end,
})

--- The options with the mask's functions traced: backward runs what forward ran.
local function traced(options, device)
  local mask = type(options.mask) == "table" and options.mask or {}
  if type(mask.keep) ~= "function" and type(mask.score) ~= "function" then return options end
  local changed = {}
  for name, value in pairs(options) do changed[name] = value end
  changed.mask = masks.normal("sdpa", mask, device)
  return changed
end

--- Attention of q to k and v; see the top of this file.
function attention.sdpa(q, k, v, options)
  options = check.options("sdpa", options or {}, OPTIONS)
  expect_tensors("sdpa", { "q", "k", "v" }, q, k, v)
  options = traced(options, q.device)
  local own = { mask = masks.normal("sdpa", options.mask, q.device) } -- the caller's later changes stay out
  for _, name in ipairs(OPTIONS) do
    if own[name] == nil then own[name] = options[name] end
  end
  return sdpa(q, k, v, own.mask.bias, own)
end

local merge = Function("merge", {
  forward = function(ctx, out1, lse1, out2, lse2)
    for name, t in pairs { out1 = out1, lse1 = lse1, out2 = out2, lse2 = lse2 } do ctx:save(name, t) end
    local out, lse = Tensor.blank(), Tensor.blank()
    check.call("mosaic_attention_merge", out, lse, out1.c, lse1.c, out2.c, lse2.c)
    return Tensor.wrap(out), Tensor.wrap(lse)
  end,
  backward = function(ctx, dout, dlse)
    dout = dout or zeros_like(ctx.out1)
    local g = {}
    for i = 1, 4 do g[i] = Tensor.blank() end
    check.call("mosaic_attention_merge_backward", g[1], g[2], g[3], g[4], dout.c, dlse and dlse.c,
      ctx.out1.c, ctx.lse1.c, ctx.out2.c, ctx.lse2.c)
    for i = 1, 4 do g[i] = Tensor.wrap(g[i]) end
    return unpack(g)
  end,
})

--- The result over the union of two disjoint sets of keys, from the results over each.
function attention.merge(out1, lse1, out2, lse2)
  expect_tensors("merge", { "out1", "lse1", "out2", "lse2" }, out1, lse1, out2, lse2)
  return merge(out1, lse1, out2, lse2)
end

return attention
