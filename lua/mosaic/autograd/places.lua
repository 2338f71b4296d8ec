--- Where a rule may write its gradients: in what the tape has for them, which saves a copy.
local tape = require "mosaic.autograd.tape"

--- For arguments from, from + 1, ... of a node, `count` of them: tensors of this dtype, nil where new ones do
-- as well. Not twice where two are one tensor.
return function(node, from, count, dtype)
  local edges, places = node.inputs, {}
  for i = 1, count do
    local edge = edges[from + i - 1]
    for j = from, from + i - 2 do edge = edge ~= edges[j] and edge end
    places[i] = tape.place(edge, dtype)
  end
  return places
end
