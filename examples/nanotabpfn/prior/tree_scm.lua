--- Tables from random trees: layers of piecewise constant functions; the causes are the features.
--
-- A layer is the mean of 1-4 trees of depth 2-4. A split sends the rows at or below a row's value of one
-- column to the left. Splits are random, with N(0, 1) leaves; or fitted to fresh N(0, 1) targets: the best
-- of a few random splits, and leaves that are the mean target of their rows.
local mosaic = require "mosaic"
local new_table = require "table.new"
local causes = require "nanotabpfn.prior.causes"

local TRIALS = 4

--- A split at a random row's value of a random column: the rows at or below it, and the others.
local function split_rows(stream, columns, rows)
  local column = columns[stream:integer(1, #columns)]
  local threshold = column[stream:choice(rows)]
  local left, right, l, r = new_table(#rows, 0), new_table(#rows, 0), 0, 0
  for i = 1, #rows do
    local row = rows[i]
    if column[row] <= threshold then
      l = l + 1
      left[l] = row
    else
      r = r + 1
      right[r] = row
    end
  end
  return left, right
end

--- The squared sum of targets over the count, for all units together: what a split wants to be large.
local function explained(rows, targets)
  local total, count = 0, #rows
  for unit = 1, #targets do
    local target, sum = targets[unit], 0
    for i = 1, count do sum = sum + target[rows[i]] end
    total = total + sum * sum
  end
  return count > 0 and total / count or 0
end

local function best_split(stream, columns, rows, targets)
  local left, right, best = nil, nil, -1
  for _ = 1, targets and TRIALS or 1 do
    local l, r = split_rows(stream, columns, rows)
    local gain = targets and explained(l, targets) + explained(r, targets) or 0
    if gain > best then left, right, best = l, r, gain end
  end
  return left, right
end

--- Adds the leaf's value, one for each unit, to its rows.
local function add_leaf(stream, rows, targets, outputs, share)
  for unit, output in ipairs(outputs) do
    local value = 0
    if targets then
      for _, row in ipairs(rows) do value = value + targets[unit][row] / #rows end
    else
      value = stream:normal()
    end
    for _, row in ipairs(rows) do output[row] = output[row] + share * value end
  end
end

local function grow(stream, tree, rows, depth)
  if depth == 0 or #rows < 2 then
    add_leaf(stream, rows, tree.targets, tree.outputs, tree.share)
    return
  end
  local left, right = best_split(stream, tree.columns, rows, tree.targets)
  grow(stream, tree, left, depth - 1)
  if #right > 0 then grow(stream, tree, right, depth - 1) end
end

local function zeros(units, rows)
  local list = {}
  for unit = 1, units do
    list[unit] = {}
    for row = 1, rows do list[unit][row] = 0 end
  end
  return list
end

--- columns (inputs lists of rows) -> `units` lists of rows
local function layer(stream, h, columns, units)
  local rows = #columns[1]
  local outputs, all, trees = zeros(units, rows), {}, stream:integer(1, 4)
  for row = 1, rows do all[row] = row end
  for _ = 1, trees do
    local targets = h.is_fitted and stream:normals(units, rows):tolist() or nil
    local tree = { columns = columns, targets = targets, outputs = outputs, share = 1 / trees }
    grow(stream, tree, all, stream:integer(2, 4))
  end
  local noise = stream:normals(units, rows):mul_(h.noise_std):tolist()
  for unit, output in ipairs(outputs) do
    for row = 1, rows do output[row] = output[row] + noise[unit][row] end
  end
  return outputs
end

--- X (features, rows) and y (rows).
return function(stream, h, rows, features)
  local inputs = causes.draw(stream, features, rows, h.sampling, h.presampled_causes)
  local x = inputs:tolist()
  for _ = 1, h.tree_layers do x = layer(stream, h, x, h.tree_hidden) end
  return inputs, mosaic.tensor(x[#x])
end
