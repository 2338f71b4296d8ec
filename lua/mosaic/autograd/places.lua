--- Where a rule may write its gradients: in what the tape has for them, which saves a copy.
local edges = require "mosaic.autograd.edge"

--- For arguments from, from + 1, ... of a node, `count` of them: tensors of this dtype, nil where new ones do
-- as well. Not twice where two are one tensor.
return function(node, from, count, dtype)
  local inputs, places = node.inputs, {}
  for i = 1, count do
    local edge = inputs[from + i - 1]
    for j = from, from + i - 2 do edge = edge ~= inputs[j] and edge end
    places[i] = edges.place(edge, dtype)
  end
  return places
end
