--- The derivatives of matmul and linear, as rows for record.lua.
--
-- c = a b gives da = g b^T and db = a^T g. A matrix that met a whole stack of others gets its gradient
-- from one product over all their rows, instead of a stack of products to be summed.
local input = require "mosaic.autograd.input"

--- (..., k) as (rows, k).
local function rows_of(t)
  return t.ndim == 1 and t:unsqueeze(1) or t:flatten(1, -2)
end

--- a^T b over all rows: (..., m), (..., n) -> (m, n). The views go at once: they would keep a and b alive.
local function over_rows(a, b)
  local views = { rows_of(a), rows_of(b) }
  views[3] = views[1]:t()
  local product = views[3]:matmul(views[2])
  for _, view in ipairs(views) do
    if view ~= a and view ~= b then view:free() end
  end
  return product
end

--- The gradient with the axes that vectors do not have in it: (..., m, n).
local function as_matrices(g, a_ndim, b_ndim)
  if b_ndim == 1 then g = g:unsqueeze(-1) end
  return a_ndim == 1 and g:unsqueeze(-2) or g
end

local function matmul_left(g, n)
  local b = n[2]
  g = as_matrices(g, #input.shape(n, 1), b.ndim)
  return g:matmul(b.ndim == 1 and b:unsqueeze(1) or b:t())
end

local function matmul_right(g, n)
  local a, vector = n[1], #input.shape(n, 2) == 1
  g = as_matrices(g, a.ndim, #input.shape(n, 2))
  if #input.shape(n, 2) <= 2 then
    g = over_rows(a, g)
  else
    g = (a.ndim == 1 and a:unsqueeze(2) or a:t()):matmul(g)
  end
  return vector and g:squeeze(-1) or g
end

return {
  matmul = { save = { 1, 2 }, matmul_left, matmul_right },
  linear = { save = { 1, 2 }, adds = 1,
    function(g, n, sum) return g:linear_backward(n[2], sum) end,
    function(g, n) return over_rows(g, n[1]) end,
    function(g) return g end, -- the tape sums it over the rows
  },
}
