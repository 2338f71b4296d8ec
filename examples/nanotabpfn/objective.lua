--- What training minimises: the cross-entropy of the test cells, in the mean over all cells of all ranks.
local mosaic = require "mosaic"

local objective = {}

--- Labels (tables, test rows) of the rows that the logits belong to: the last ones.
local function test_labels(logits, y)
  local count = logits:size(2)
  return y:narrow(2, y:size(2) - count + 1, count):to "i64"
end

--- This rank's part of the loss, to go back from: summed over the ranks it is the loss, and so are its
-- gradients. y (tables, rows): class numbers from 0 of this rank's rows; test_cells: of all ranks.
function objective.part(logits, y, test_cells)
  return mosaic.nn.cross_entropy(logits, test_labels(logits, y) + 1, { reduction = "sum" }) / test_cells
end

--- The logits and labels of the test rows of all ranks, on every rank.
function objective.gather(comm, logits, y)
  local labels = test_labels(logits, y)
  logits = logits:detach()
  if comm.size == 1 then return logits, labels end
  return comm:all_gather(logits, 2), comm:all_gather(labels, 2)
end

--- The loss of gathered logits, as a number.
function objective.mean(logits, labels)
  return mosaic.nn.cross_entropy(logits:to "f64", labels + 1):item()
end

return objective
