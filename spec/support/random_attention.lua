--- Random calls of attention beside the same call in f64 on the CPU: any sizes, strides, masks, scales and
-- positions, dropout, gradients of lse, gradients added to what is there. Memory beside operands is NaN.
--
--   random_attention.check(seed, { device = "cuda", kinds = { { "bf16", 24 } } })   dtypes and head sizes;
--                                                                                   default: any;
--                                       without_bias = true: no gradients of biases
--
-- Off by more than rounding can explain is an error that says all of the call; the seed makes it again.
local mosaic = require "mosaic"
local on = require "spec.support.device_attention"
local Tensor = require "mosaic.tensor"

local random = math.random
--- Of the largest number of a result.
local BOUND = { f64 = 1e-11, f32 = 1e-4, f16 = 4e-3, bf16 = 3e-2 }
local RESULTS = { "out", "lse", "dq", "dk", "dv", "dbias" }

local function one_in(n) return random(n) == 1 end
local function one_of(list) return list[random(#list)] end

local function product(shape)
  local count = 1
  for _, size in ipairs(shape) do count = count * size end
  return count
end

--- Of elements make(i).
local function tensor(shape, dtype, make)
  local list = {}
  for i = 1, product(shape) do list[i] = make(i) end
  return mosaic.tensor(list, { dtype = dtype, device = "cpu" }):view(shape)
end

local function noise(shape, dtype)
  return tensor(shape, "f64", function() return (random() + random() + random() - 1.5) * 1.6 end):to(dtype)
end

--- ---- how operands lie in memory -----------------------------------------------------------------

local function shuffled(n)
  local list = {}
  for i = 1, n do list[i] = i end
  for i = n, 2, -1 do
    local j = random(i)
    list[i], list[j] = list[j], list[i]
  end
  return list
end

--- x on the device, its axes in any order, in rows or planes that are longer than it needs.
local function laid_out(x, device)
  if one_in(3) then return x:to { device = device } end
  local order, back, shape = shuffled(x.ndim), {}, {}
  for i, axis in ipairs(order) do back[axis], shape[i] = i, x:size(axis) end
  local padded, more = random(x.ndim), random(0, 3)
  local from = random(0, more)
  shape[padded] = shape[padded] + more
  shape.dtype, shape.device = x.dtype, device
  local there = (mosaic.ones(shape) * (0 / 0)):narrow(padded, from + 1, x:size(order[padded]))
  there:copy_(x:permute(unpack(order)):to { device = device })
  return there:permute(unpack(back))
end

--- ---- a call -------------------------------------------------------------------------------------

local function positions(n)
  local step, first, order = random(3), random(0, 20), shuffled(n)
  local jumps = one_in(3)
  return tensor({ n }, "i64", function(i) return first + step * (jumps and order[i] or i) end)
end

local function documents(n)
  local length = random(30)
  return tensor({ n }, "i64", function(i) return math.floor(i / length) end)
end

local function kept(shape)
  local share = one_of { 0.1, 0.5, 0.95 }
  return tensor(shape, "u8", function() return random() < share and 1 or 0 end)
end

local function random_mask(b, h, nq, nk)
  local function shape() return one_of { { b, h, nq, nk }, { nq, nk }, { 1, h, 1, nk }, { b, 1, 1, nk } } end
  return {
    causal = one_in(4) or nil,
    window = one_in(5) and one_of { random(0, 40), { random(0, 30), random(0, 30) } } or nil,
    prefix = one_in(6) and random(0, nk + 3) or nil,
    documents = one_in(6) and { q = documents(nq), k = documents(nk) } or nil,
    keep = one_in(5) and kept(shape()) or nil,
    alibi = one_in(6) and tensor({ h }, "f32", function() return random() * 0.2 - 0.05 end) or nil,
    bias = one_in(6) and noise(shape(), one_of { "f32", "f64", "bf16", "f16" }) or nil,
  }
end

--- Many problems of few rows, or few of more.
local function random_sizes()
  if one_in(6) then
    local kv = one_of { 1, 2, 4 }
    return random(10, 40), kv * one_of { 1, 1, 2, 3 }, kv, random(one_of { 8, 40 }), random(one_of { 8, 40 })
  end
  local kv = random(2)
  return random(2), kv * one_of { 1, 1, 2, 3 }, kv, random(random(150)), random(random(150))
end

local function random_kind() return { one_of { "f64", "f32", "bf16", "f16" }, random(random(256)) } end

local function random_call(kinds)
  local b, h, kv, nq, nk = random_sizes()
  local dtype, d = unpack(kinds and one_of(kinds) or random_kind())
  local wide = dtype == "f64" and "f64" or "f32"
  local call = {
    dtype = dtype, q = noise({ b, h, nq, d }, dtype), k = noise({ b, kv, nk, d }, dtype),
    v = noise({ b, kv, nk, d }, dtype), dout = noise({ b, h, nq, d }, wide),
    dlse = one_in(3) and noise({ b, h, nq }, "f64") or nil,
    adds = one_in(3),
  }
  call.options = {
    mask = one_in(3) and {} or random_mask(b, h, nq, nk),
    scale = one_in(2) and one_of { 0, -0.2, 0.37, 1 } or nil,
    q_positions = one_in(8) and positions(nq) or nil, k_positions = one_in(8) and positions(nk) or nil,
    dropout = one_in(5) and { p = random() * 0.8, seed = random(100) } or nil,
  }
  return call
end

local function describe(x)
  if Tensor.is(x) then return x.dtype .. "[" .. table.concat(x.shape, ",") .. "]" end
  if type(x) ~= "table" then return tostring(x) end
  local parts = {}
  for name, value in pairs(x) do parts[#parts + 1] = name .. "=" .. describe(value) end
  table.sort(parts)
  return "{" .. table.concat(parts, " ") .. "}"
end

--- ---- its results --------------------------------------------------------------------------------

--- f64 on the CPU; lse and delta, which backward is given, too.
local function truth_of(call)
  local options = on.wide(call.options)
  local q, k, v, dout = call.q:to "f64", call.k:to "f64", call.v:to "f64", call.dout:to "f64"
  local r = {}
  r.out, r.lse = mosaic.attention.forward(q, k, v, options)
  r.delta = mosaic.attention.delta(dout, r.out, call.dlse)
  options.bias_gradient = options.mask.bias ~= nil
  r.dq, r.dk, r.dv, r.dbias = mosaic.attention.backward(dout, r.lse, r.delta, q, k, v, options)
  return r
end

local function results_of(call, truth, device, without_bias)
  local q, k, v, dout = laid_out(call.q, device), laid_out(call.k, device), laid_out(call.v, device),
    laid_out(call.dout, device)
  local options, r = on.moved(call.options, device), {}
  r.out, r.lse = mosaic.attention.forward(q, k, v, options)
  options.bias_gradient = options.mask.bias ~= nil and not without_bias
  if call.adds and not options.bias_gradient then
    options.into = {}
    for i, x in ipairs { call.q, call.k, call.v } do
      options.into[i] = laid_out(tensor(x.shape, call.dout.dtype, function() return 1 end), device)
    end
  end
  local lse, delta = truth.lse:to { device = device }, truth.delta:to(dout.dtype):to { device = device }
  r.dq, r.dk, r.dv, r.dbias = mosaic.attention.backward(dout, lse, delta, q, k, v, options)
  return r, options.into and 1 or 0
end

local function flat(x) return x:to { device = "cpu" }:to "f64":flat() end

--- The largest of the finite ones, or 1: gradients may be sums that cancel.
local function size_of(list)
  local most = 1
  for _, x in ipairs(list) do
    if math.abs(x) < math.huge then most = math.max(most, math.abs(x)) end
  end
  return most
end

local function compare(name, found, truth, added, bound, what)
  local size = size_of(truth)
  for i, x in ipairs(truth) do
    local expected = x + added
    local off = found[i] == expected and 0 or math.abs(found[i] - expected)
    if not (off <= bound * size) then
      error(("%s is off by %.3g, more than %.3g, at %d: %s"):format(name, off, bound * size, i, what), 0)
    end
  end
end

local random_attention = {}

function random_attention.check(seed, options)
  math.randomseed(seed)
  local call = random_call(options.kinds)
  local what = ("seed %d, %s"):format(seed, describe(call))
  local truth = truth_of(call)
  local ok, found, added = pcall(results_of, call, truth, options.device, options.without_bias)
  if not ok then error(what .. ": " .. tostring(found), 0) end
  for _, name in ipairs(RESULTS) do
    local is_gradient = name == "dq" or name == "dk" or name == "dv"
    if found[name] then
      compare(name, flat(found[name]), flat(truth[name]), is_gradient and added or 0, BOUND[call.dtype], what)
    end
  end
end

return random_attention
