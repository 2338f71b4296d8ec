--- The shares of the classes among the 5 nearest train rows, by distance in the columns as they are.
local NEIGHBOURS = 5

local function squared_distance(a, b)
  local sum = 0
  for j = 1, #a do sum = sum + (a[j] - b[j]) ^ 2 end
  return sum
end

--- The numbers of the nearest train rows; of equally near ones the first.
local function nearest(train_x, row)
  local order, distance = {}, {}
  for i, other in ipairs(train_x) do
    order[i], distance[i] = i, squared_distance(row, other)
  end
  table.sort(order, function(a, b)
    if distance[a] ~= distance[b] then return distance[a] < distance[b] end
    return a < b
  end)
  return { unpack(order, 1, math.min(NEIGHBOURS, #order)) }
end

return function(train_x, train_labels, test_x, classes)
  local probabilities = {}
  for i, row in ipairs(test_x) do
    local shares, neighbours = {}, nearest(train_x, row)
    for class = 1, classes do shares[class] = 0 end
    for _, k in ipairs(neighbours) do
      shares[train_labels[k]] = shares[train_labels[k]] + 1 / #neighbours
    end
    probabilities[i] = shares
  end
  return probabilities
end
