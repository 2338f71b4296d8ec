--- Queries without keys among others that have some, and keys that nobody sees, in the tile kernels.
local mosaic = require "mosaic"
local dense = require "spec.support.dense"
local support = require "spec.support.attention"

local values = support.values

local function blind(i, n) return i % 4 == 1 or i > 0.8 * n end -- this query sees nothing
local function dark(j) return j % 5 == 2 end -- nobody sees this key

--- f(1), ..., f(n)
local function list(n, f)
  local all = {}
  for i = 1, n do all[i] = f(i) end
  return all
end

local function rows_where(n, f)
  local rows = {}
  for i = 1, n do rows[#rows + 1] = f(i, n) and i or nil end
  return mosaic.tensor(rows, { dtype = "i64" })
end

local function kept(n)
  return mosaic.tensor(list(n, function(i)
    return list(n, function(j) return (blind(i, n) or dark(j)) and 0 or 1 end)
  end), { dtype = "u8" })
end

local function capped()
  local function score(s) return 2 * math.tanh(s / 2) end
  dense.slopes[score] = function(s) return 1 - math.tanh(s / 2) ^ 2 end
  return score
end

local function score_where_seen(n)
  local function score(s, _, _, i, j) return (blind(i, n) or dark(j)) and -math.huge or s / 2 end
  dense.slopes[score] = function() return 0.5 end
  return score
end

--- Options that hide the same rows from each other, each by another sort of mask.
local sorts = {
  keep = function(n) return { mask = { keep = kept(n) } } end,
  ["a bias of minus infinity"] = function(n)
    return { mask = { bias = values({ n, n }, 4, "f32"):masked_fill(kept(n):eq(0), -math.huge) } }
  end,
  documents = function(n)
    return { mask = { documents = {
      q = list(n, function(i) return blind(i, n) and 8 or 1 end),
      k = list(n, function(j) return dark(j) and 9 or 1 end),
    } } }
  end,
  ["a window over positions"] = function(n)
    return {
      mask = { window = { 7, 2 } },
      q_positions = list(n, function(i) return blind(i, n) and 10 * n + i or i end),
      k_positions = list(n, function(j) return dark(j) and 20 * n + j or j end),
    }
  end,
  ["positions of the future"] = function(n)
    return {
      mask = { causal = true },
      q_positions = list(n, function(i) return blind(i, n) and 1 or 1 + i end),
      k_positions = list(n, function(j) return dark(j) and 3 * n or 1 + j end),
    }
  end,
  ["a function that keeps"] = function(n)
    return { mask = { keep = function(_, _, i, j) return not (blind(i, n) or dark(j)) end } }
  end,
  ["a score of minus infinity"] = function(n) return { mask = { score = score_where_seen(n) } } end,
  ["keep, before a score that is capped"] = function(n)
    return { mask = { keep = kept(n), score = capped() } }
  end,
}

local function expect_all(value, name, x, axis, rows)
  for _, got in ipairs(x:index_select(axis, rows):flat()) do
    assert(got == value, ("%s holds %g, not %g"):format(name, got, value))
  end
end

--- Exactly nothing for queries and keys without each other; the others as plain Lua doubles have them.
local function expect_hidden(sizes, dtype, options)
  local q, k, v = support.operands(sizes, dtype)
  local _, heads, _, n = unpack(sizes)
  local queries, keys = rows_where(n, blind), rows_where(n, dark)
  local found = support.run(q, k, v, options, values(q.shape, 7, "f32"), values({ 1, heads, n }, 8))
  expect_all(-math.huge, "lse", found.lse, -1, queries)
  for _, name in ipairs { "out", "dq", "dbias" } do
    if found[name] then expect_all(0, name, found[name], -2, queries) end
  end
  for _, name in ipairs { "dk", "dv" } do expect_all(0, name, found[name], -2, keys) end
  support.expect_accurate(q, k, v, options, (" for %d rows"):format(n))
end

describe("queries that see nothing", function()
  for name, options in pairs(sorts) do
    for _, dtype in ipairs { "f32", "bf16", "f16" } do
      it(("give 0, lse -inf and no gradient, among 40, 100 and 300: %s, %s"):format(name, dtype), function()
        expect_hidden({ 1, 2, 1, 40, 40, 5 }, dtype, options(40))
        expect_hidden({ 1, 2, 1, 100, 100, 5 }, dtype, options(100))
        expect_hidden({ 1, 1, 1, 300, 300, 5 }, dtype, options(300))
      end)
    end
  end
end)
