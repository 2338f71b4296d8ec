--- The derivatives of matmul and linear, as rows for record.lua.
--
-- c = a b gives da = g b^T and db = a^T g. A matrix that met a whole stack of others gets its gradient
-- from one product over all their rows, instead of a stack of products to be summed.
local input = require "mosaic.autograd.input"

--- (..., k) as (rows, k).
local function rows_of(t)
  return t.ndim == 1 and t:unsqueeze(1) or t:flatten(1, -2)
end

--- f of a and b as rows. The views go at once: they would keep a and b alive.
local function of_rows(f, a, b)
  local left, right = rows_of(a), rows_of(b)
  local first, second = f(left, right)
  if left ~= a then left:free() end
  if right ~= b then right:free() end
  return first, second
end

local function turned_product(a, b)
  local turned = a:t()
  local product = turned:matmul(b)
  turned:free()
  return product
end

--- a^T b over all rows: (..., m), (..., n) -> (m, n)
local function over_rows(a, b)
  return of_rows(turned_product, a, b)
end

local function sum_over_rows(g)
  local rows = rows_of(g)
  local sum = rows:sum(1)
  if rows ~= g then rows:free() end
  return sum
end

--- The gradients of linear's weight and bias, as far as they are wanted: g that of its result, x its input.
local function of_parameters(g, x, weight, bias)
  if weight and bias then return of_rows(g.linear_gradients, g, x) end
  return weight and over_rows(g, x), bias and sum_over_rows(g)
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

--- The bias's gradient, where it is wanted, comes along: it waits in the node.
local function linear_weight(g, n)
  local dweight, dbias = of_parameters(g, n[1], true, input.wanted(n, 3))
  n.bias = dbias or nil
  return dweight
end

local function linear_bias(g, n)
  local dbias = n.bias or g -- which the tape sums over the rows
  n.bias = nil
  return dbias
end

return {
  of_parameters = of_parameters,
  matmul = { save = { 1, 2 }, matmul_left, matmul_right },
  linear = { save = { 1, 2 }, adds = 1, fresh = true,
    function(g, n, sum) return g:linear_backward(n[2], sum) end,
    linear_weight, linear_bias,
  },
}
