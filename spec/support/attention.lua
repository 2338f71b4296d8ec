--- What the specs of attention share: operands, and the comparison with the truth.
local assert = require "luassert"
local mosaic = require "mosaic"
local dense = require "spec.support.dense"
local plain = require "spec.support.plain_attention"

local attention = {}

--- Numbers in (-1, 1) that are the same in every run, times `gain`.
function attention.values(shape, salt, dtype, gain)
  local count, list = 1, {}
  for _, size in ipairs(shape) do count = count * size end
  for i = 1, count do list[i] = math.sin(i * 12.9898 + salt * 78.233) * (gain or 1) end
  return mosaic.tensor(list, { dtype = "f64" }):view(shape):to(dtype or "f64")
end

--- q, k, v: { batch, heads, kv_heads, nq, nk, d }.
function attention.operands(sizes, dtype, gain)
  local b, h, kv, nq, nk, d = unpack(sizes)
  return attention.values({ b, h, nq, d }, 1, dtype, gain), attention.values({ b, kv, nk, d }, 2, dtype),
    attention.values({ b, kv, nk, d }, 3, dtype)
end

--- The numbers 1..n in an order that jumps about.
function attention.shuffled(n, step)
  local list = {}
  for i = 0, n - 1 do list[i + 1] = i * step % n + 1 end
  return list
end

--- Ids of documents of that length (n), or of each batch entry (batch, n).
function attention.documents(n, length, batch)
  local list = {}
  for b = 1, batch or 1 do
    for i = 1, n do list[#list + 1] = math.floor((i + b) / length) end
  end
  local t = mosaic.tensor(list, { dtype = "i64" })
  return batch and t:view(batch, n) or t
end

--- A mask of so many elements, most of which are 1.
function attention.keep(shape)
  local count, list = 1, {}
  for _, size in ipairs(shape) do count = count * size end
  for i = 1, count do list[i] = i * 7 % 5 > 1 and 1 or 0 end
  return mosaic.tensor(list, { dtype = "u8" }):view(shape)
end

--- All results and gradients for fixed gradients of out and lse.
function attention.run(q, k, v, options, dout, dlse)
  local bias = options.mask and options.mask.bias
  local out, lse = mosaic.sdpa(q, k, v, options)
  local delta = mosaic.attention.delta(dout, out, dlse)
  local backward = { bias_gradient = bias ~= nil }
  for name, value in pairs(options) do backward[name] = value end
  local dq, dk, dv, dbias = mosaic.attention.backward(dout, lse, delta, q, k, v, backward)
  return { out = out, lse = lse, dq = dq, dk = dk, dv = dv, dbias = dbias }
end

function attention.truth(q, k, v, options, dout, dlse)
  local truth = dense.gradients(q, k, v, dout:flat(), dlse and dlse:flat(), options)
  local forward = dense.attention(q, k, v, options)
  truth.out, truth.lse = forward.out, forward.lse
  return truth
end

--- Largest distance between two lists; a NaN or a different infinity is infinitely far.
function attention.distance(list, truth)
  assert.equal(#truth, #list)
  local worst = 0
  for i = 1, #list do
    local error = list[i] == truth[i] and 0 or math.abs(list[i] - truth[i])
    if not (error <= worst) then worst = error == error and error or math.huge end
  end
  return worst
end

--- Largest magnitude in a list, infinities aside.
function attention.largest(list)
  local most = 0
  for _, x in ipairs(list) do
    local size = math.abs(x)
    if size > most and size < math.huge then most = size end
  end
  return most
end

--- Fails unless a tensor is within `bound` of a list everywhere.
function attention.expect(name, result, truth, bound, note)
  local worst = attention.distance(result:flat(), truth)
  if not (worst <= bound) then
    assert.is_true(false, ("%s is off by %.3g, more than %.3g%s"):format(name, worst, bound, note or ""))
  end
end

--- In f64: everything within 1e-12 of the largest value (or of 1).
function attention.expect_exact(q, k, v, options)
  options = options or {}
  local shape = { unpack(q.shape) }
  local dout = attention.values(shape, 7)
  shape[#shape] = nil
  local dlse = attention.values(shape, 8)
  local results = attention.run(q, k, v, options, dout, dlse)
  local truth = attention.truth(q, k, v, options, dout, dlse)
  for _, name in ipairs { "out", "lse", "dq", "dk", "dv", "dbias" } do
    local expected = truth[name]
    local bound = 1e-12 * math.max(1, attention.largest(expected or {}))
    if expected then attention.expect(name, results[name], expected, bound) end
  end
end

--- The same of a mask for 4 heads, 2 of keys, 13 queries and 17 keys, in and out of order.
function attention.expect_exact_masked(mask)
  local q, k, v = attention.operands { 2, 4, 2, 13, 17, 5 }
  attention.expect_exact(q, k, v, { mask = mask })
  attention.expect_exact(q, k, v, { mask = mask, scale = 1.3,
    q_positions = attention.shuffled(13, 5), k_positions = attention.shuffled(17, 7) })
end

--- Other devices' exp may be off by 2 ulps; sums come in another order than the measure's.
local ULPS = mosaic.default_device() ~= "cpu" and 8 or 6

--- In f32: at most twice the error of the plain f32 implementation, and a few ulps of the largest value.
-- Halves are compared with the truth of what they hold.
function attention.expect_accurate(q, k, v, options, note)
  options = options or {}
  local dout = attention.values(q.shape, 7, "f32")
  local results = attention.run(q, k, v, options, dout)
  local truth = attention.truth(q, k, v, options, dout)
  local measure = plain.attention(q, k, v, dout, options)
  for _, name in ipairs { "out", "lse", "dq", "dk", "dv" } do
    local _, exponent = math.frexp(attention.largest(truth[name]))
    local bound = 2 * attention.distance(measure[name], truth[name]) + ULPS * 2 ^ (exponent - 24)
    attention.expect(name, results[name], truth[name], bound, note)
  end
end

return attention
