--- A trained model on one real table.
local mosaic = require "mosaic"

local classifier = {}

--- Probabilities of the test rows, on every rank: a list with one number per class for each row.
-- x (1, own rows, features), y (1, own rows): class numbers from 0; rows 1..train_rows of the whole table
-- are the train rows. Outputs beyond `classes` take no part.
function classifier.probabilities(model, x, y, train_rows, classes)
  local comm = model:communicator()
  return mosaic.no_grad(function()
    local logits = model(x, y, train_rows):narrow(3, 1, classes)
    if comm.size > 1 then logits = comm:all_gather(logits, 2) end
    return logits[1]:to "f64":softmax(-1):tolist()
  end)
end

return classifier
