--- "Did you mean": the known name that is nearest to a mistyped one.

--- Edits that turn a into b (Levenshtein).
local function distance(a, b)
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local diagonal = row[0]
    row[0] = i
    for j = 1, #b do
      local cost = diagonal + (a:byte(i) == b:byte(j) and 0 or 1)
      diagonal = row[j]
      row[j] = math.min(cost, row[j] + 1, row[j - 1] + 1)
    end
  end
  return row[#b]
end

--- The entry of `names` nearest to `name`, or nil when none is near.
return function(name, names)
  local best, best_distance = nil, math.max(2, math.floor(#name / 3)) + 1
  for _, candidate in ipairs(names) do
    local d = distance(name, candidate)
    if d < best_distance then best, best_distance = candidate, d end
  end
  return best
end
