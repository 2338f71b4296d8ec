--- Rows for gradients.lua: reductions.
local input = require "mosaic.autograd.input"
local create = require "mosaic.tensor.create"

--- A reduction's result or gradient with the reduced axes back as size 1. n[2] is the axes.
local function keep_axes(t, n)
  local whole, axes, shape = input.shape(n, 1), n[2], {}
  if type(axes) == "number" then axes = { axes } end
  for i = 1, #whole do shape[i] = axes and whole[i] or 1 end
  for _, axis in ipairs(axes or {}) do shape[axis > 0 and axis or axis + #whole + 1] = 1 end
  return t:reshape(shape)
end

--- The product of the others: by division, except around zeros.
local function product_gradient(g, n)
  local x = n[1]
  local zero = x:eq(0)
  local zeros = zero:sum(n[2], true)
  local others = x:masked_fill(zero, 1):prod(n[2], true)
  local at_zero = others:where(zeros:eq(1), 0)
  local elsewhere = others:where(zeros:eq(0), 0) / x:masked_fill(zero, 1)
  return keep_axes(g, n) * at_zero:where(zero, elsewhere)
end

--- All elements that attain the extreme value share its gradient.
local function extreme_gradient(g, n)
  local won = n[1]:eq(keep_axes(n.out, n))
  return won * (keep_axes(g, n) / won:sum(n[2], true))
end

--- The gradient goes to the one element along the axis whose index was returned.
local function chosen_gradient(g, n, arg)
  local x, axis = n[1], n[2]
  if axis == nil then return extreme_gradient(g, n) end
  local shape, along = x.shape, {}
  axis = axis > 0 and axis or axis + #shape + 1
  for i = 1, #shape do along[i] = i == axis and shape[i] or 1 end
  local places = create.arange(1, shape[axis], { device = x.device }):view(along)
  return keep_axes(g, n):where(places:eq(x[arg](x, axis, true)), 0)
end

return {
  sum = { function(g, n) return keep_axes(g, n):expand(input.shape(n, 1)) end },
  mean = { function(g, n)
    local whole, count = input.shape(n, 1), 1
    for _, size in ipairs(whole) do count = count * size end
    return (keep_axes(g, n) / (count / g:numel())):expand(whole)
  end },
  prod = { save = { 1 }, product_gradient },
  amax = { save = { 1, "out" }, extreme_gradient },
  amin = { save = { 1, "out" }, extreme_gradient },
  max = { save = { 1, "out" }, function(g, n) return chosen_gradient(g, n, "argmax") end },
  min = { save = { 1, "out" }, function(g, n) return chosen_gradient(g, n, "argmin") end },
  norm = { save = { 1, "out" }, function(g, n)
    local out = keep_axes(n.out, n)
    return n[1] * (keep_axes(g, n) / out):masked_fill(out:eq(0), 0)
  end },
  logsumexp = { save = { 1, "out" }, function(g, n)
    local out = keep_axes(n.out, n)
    return keep_axes(g, n) * (n[1] - out:masked_fill(out:isfinite():logical_not(), 0)):exp()
  end },
  var = { save = { 1 }, function(g, n)
    local x, options = n[1], n[3] or {}
    local count = x:reduced_count(n[2]) - (options.unbiased == false and 0 or 1)
    return (x - x:mean(n[2], true)) * (keep_axes(g, n) * (2 / count))
  end },
}
