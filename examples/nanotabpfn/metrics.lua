--- How good predictions are. Labels are class numbers from 1; scores one number a row, or a list of one
-- number per class.
local metrics = {}

--- The chance that a row of the class scores above one of another class (ties count half); nil when there is
-- only one kind of row. By ranks (Mann and Whitney): O(n log n).
function metrics.binary_auc(scores, is_positive)
  local order, positives, n = {}, 0, #scores
  for i = 1, n do
    order[i] = i
    if is_positive[i] then positives = positives + 1 end
  end
  if positives == 0 or positives == n then return nil end
  table.sort(order, function(a, b) return scores[a] < scores[b] end)
  local rank_sum, first = 0, 1
  while first <= n do
    local last = first
    while last < n and scores[order[last + 1]] == scores[order[first]] do last = last + 1 end
    for i = first, last do
      if is_positive[order[i]] then rank_sum = rank_sum + (first + last) / 2 end
    end
    first = last + 1
  end
  return (rank_sum - positives * (positives + 1) / 2) / (positives * (n - positives))
end

local function of_class(probabilities, labels, class)
  local scores, is_positive = {}, {}
  for i, row in ipairs(probabilities) do
    scores[i], is_positive[i] = row[class], labels[i] == class
  end
  return metrics.binary_auc(scores, is_positive)
end

--- Two classes: the AUC of the second. More: the mean of one class against the rest, over the classes that
-- occur. nil when only one class occurs.
function metrics.auc(probabilities, labels, classes)
  if classes == 2 then return of_class(probabilities, labels, 2) end
  local sum, count = 0, 0
  for class = 1, classes do
    local auc = of_class(probabilities, labels, class)
    if auc then sum, count = sum + auc, count + 1 end
  end
  return count > 0 and sum / count or nil
end

--- The sum of the tables' AUCs and how many tables have one: logits (tables, rows, classes) and labels
-- (tables, rows) from 0, as tensors.
function metrics.table_aucs(logits, labels)
  local sum, count, classes = 0, 0, logits:size(3)
  local scores, truth = logits:softmax(-1):tolist(), (labels + 1):tolist()
  for i = 1, #scores do
    local auc = metrics.auc(scores[i], truth[i], classes)
    if auc then sum, count = sum + auc, count + 1 end
  end
  return sum, count
end

--- The number of the largest entry; the first of equal ones.
function metrics.argmax(row)
  local best = 1
  for class = 2, #row do
    if row[class] > row[best] then best = class end
  end
  return best
end

--- The share of rows whose likeliest class is the true one.
function metrics.accuracy(probabilities, labels)
  local right = 0
  for i, row in ipairs(probabilities) do
    if metrics.argmax(row) == labels[i] then right = right + 1 end
  end
  return right / #labels
end

return metrics
