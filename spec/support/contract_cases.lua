--- The cases of contract.lua: tensors, masks, and the order in which everything meets everything else.
local mosaic = require "mosaic"
local dense = require "spec.support.dense"
local fill = require "spec.support.fill"

local cases = {}

cases.HEADS = { { 2, 1 }, { 2, 2 }, { 1, 1 }, { 6, 2 }, { 5, 5 } } -- query heads, key heads

local ULPS = { f32 = 2 ^ -21, bf16 = 2 ^ -7, f16 = 2 ^ -10 }
local CEILINGS = { f32 = 2 ^ -19, bf16 = 2 ^ -6, f16 = 2 ^ -9 } -- 32, 4 and 4 roundings

cases.MASKS = {
  none = function() return {} end,
  causal = function() return { causal = true } end,
  window = function() return { window = { 3, 1 } } end,
  prefix = function(rows) return { prefix = math.floor(rows / 3) } end,
  documents = function(rows, _, key_rows)
    local function ids(count)
      local list = {}
      for i = 1, count do list[i] = math.floor(i / 4) end
      return mosaic.tensor(list, { dtype = "i64" })
    end
    return { documents = { q = ids(rows), k = ids(key_rows) }, causal = true }
  end,
  alibi = function(_, heads)
    local slopes = {}
    for h = 1, heads do slopes[h] = 2 ^ -h end
    return { alibi = slopes, causal = true }
  end,
  ["keep by a function"] = function(_, _, key_rows)
    return {
      keep = function(b, h, i, j) return j <= i and (i + j + b) % (h + 1) < 2 or j == key_rows end,
    }
  end,
  ["score by a function"] = function()
    local function score(s, b, h, i, j)
      if (i - j) % 5 == b then return -math.huge end
      return 2 * math.tanh(s / 2) - h * math.abs(i - j) / 8
    end
    dense.slopes[score] = function(s) return 1 - math.tanh(s / 2) ^ 2 end
    return { score = score, prefix = 20 }
  end,
  keep = function(rows, heads, key_rows) return { keep = fill({ heads, rows, key_rows }):gt(0) } end,
  bias = function(rows, heads, key_rows)
    return { bias = fill({ heads, rows, key_rows }, { seed = 6 }), prefix = math.ceil(key_rows / 2) }
  end,
  ["a constant bias"] = function(rows, heads, key_rows)
    return { bias = fill({ heads, rows, key_rows }, { seed = 8 }), causal = true }, true
  end,
  ["one bias for all heads"] = function(rows, _, key_rows)
    return { bias = fill({ rows, key_rows }, { seed = 7 }), window = { 6, 6 } }
  end,
}

--- A partition whose rows belong to nobody's neighbour: dealt in a scrambled, uneven order.
function cases.scrambled(rows, ranks)
  local indices = {}
  for r = 1, ranks do indices[r] = {} end
  for i = 1, rows do
    local list = indices[(i * 7 + math.floor(i / 3)) % ranks + 1]
    table.insert(list, i % 2 == 0 and 1 or #list + 1, i)
  end
  return indices
end

local BATCH, D = 2, 3

function cases.new(rows, key_rows, heads, dtype, make_mask)
  local function make(count, length, seed, kind)
    return fill({ BATCH, count, length, D }, { seed = seed, dtype = kind or dtype })
  end
  local mask, constant = make_mask(rows, heads[1], key_rows)
  return {
    rows = rows, key_rows = key_rows, heads = heads[1], kv_heads = heads[2], dtype = dtype,
    q = make(heads[1], rows, 1), k = make(heads[2], key_rows, 2), v = make(heads[2], key_rows, 3),
    dout = make(heads[1], rows, 4, "f64"), dlse = fill({ BATCH, heads[1], rows }, { seed = 5 }),
    mask = mask, constant = constant, -- constant: the bias wants no gradient
  }
end

--- The answer in plain Lua doubles.
function cases.truth(case)
  local options = { mask = case.mask }
  local forward = dense.attention(case.q, case.k, case.v, options)
  local g = dense.gradients(case.q, case.k, case.v, case.dout:flat(), case.dlse:flat(), options)
  local function like(list, t) return mosaic.tensor(list, { dtype = "f64" }):view(t.shape) end
  return {
    out = like(forward.out, case.q), lse = like(forward.lse, case.dlse),
    dq = like(g.dq, case.q), dk = like(g.dk, case.k), dv = like(g.dv, case.v),
    dbias = case.mask.bias and not case.constant and like(g.dbias, case.mask.bias) or nil,
  }
end

--- How far from the truth a result in `dtype` may be, as a share of the larger of 1 and the largest value:
-- twice as far as one rank and a few ulps, but at most four times as far as one rank was ever measured to be
-- (f32 4.1e-7, bf16 3.8e-3, f16 4.3e-4). A wrong kernel does not widen its own bound.
function cases.bound(case, dtype, one_rank)
  if case.dtype == "f64" then return 1e-12 end
  if dtype ~= case.dtype then dtype = "f32" end -- out, lse, dbias: in f32 or better, whatever the operands
  return math.min(2 * one_rank + ULPS[dtype], CEILINGS[dtype])
end

function cases.describe(case, ranks, layout)
  return ("%d ranks, %d x %d rows, %s, %s, %d heads (%d kv)"):format(ranks, case.rows, case.key_rows, layout,
    case.dtype, case.heads, case.kv_heads)
end

local function pick(list, number) return list[number % #list + 1] end

--- Iterates over case, ranks, layout: all ranks in f64, one case in three in another dtype too. Lengths (two
-- of three, unless the caller lists them), layouts and heads take turns so that each meets each. Now and
-- then there are more keys than queries.
function cases.each(options, turn, make_mask)
  local known = {} -- cases are shared between numbers of ranks: their truth takes longest
  local function case_of(rows, key_rows, heads, dtype)
    local name = ("%d %d %d %d %s"):format(rows, key_rows, heads[1], heads[2], dtype)
    known[name] = known[name] or cases.new(rows, key_rows, heads, dtype, make_mask)
    return known[name]
  end
  return coroutine.wrap(function()
    for i, p in ipairs(options.ranks) do
      local listed = type(options.lengths) == "table"
      for j, rows in ipairs(listed and options.lengths or options.lengths(p)) do
        local heads, layout = pick(options.heads, 2 * j + turn), pick(options.layouts, i + j)
        local key_rows = (i + 2 * j) % 5 == 0 and not options.same_length and rows + 5 or rows
        local other, meets = pick(options.dtypes, i + 2 * j + turn), listed or (i + j + turn) % 3 > 0
        if meets then coroutine.yield(case_of(rows, key_rows, heads, "f64"), p, layout) end
        if meets and other ~= "f64" then coroutine.yield(case_of(rows, key_rows, heads, other), p, layout) end
      end
    end
  end)
end

return cases
