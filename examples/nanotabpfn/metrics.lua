--- How good predictions are. Labels are class numbers from 1; scores one number a row, or a list of one
-- number per class.
local metrics = {}

--- The chance that a row of the class scores above one of another class (ties count half); nil when there is
-- only one kind of row. Both kinds' scores are sorted and walked through side by side: O(n log n).
-- (Sorting numbers, not places by their scores, takes a third of the time: no function compares.)
function metrics.binary_auc(scores, is_positive)
  local positives, others = {}, {}
  for i, score in ipairs(scores) do
    local list = is_positive[i] and positives or others
    list[#list + 1] = score
  end
  if #positives == 0 or #others == 0 then return nil end
  table.sort(positives)
  table.sort(others)
  local below, up_to, wins = 0, 0, 0 -- of the others: how many score less, and not more
  for _, score in ipairs(positives) do
    while below < #others and others[below + 1] < score do below = below + 1 end
    while up_to < #others and others[up_to + 1] <= score do up_to = up_to + 1 end
    wins = wins + (below + up_to) / 2
  end
  return wins / (#positives * #others)
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
