--- What the tables of one batch have in common; weights, causes and noise are fresh in every table.

local activation = require "nanotabpfn.prior.activation"

local FLAGS = {
  "is_causal", "y_is_effect", "in_clique", "sorted_features", "blockwise_dropout",
  "presampled_causes", "presampled_noise",
}
local SAMPLINGS = { "normal", "uniform", "mixed" }

local function round(x)
  return math.floor(x + 0.5)
end

--- True with a probability that is itself drawn: the first weight of softmax(1, w), w ~ U(-3, 5).
local function flag(stream)
  local w = stream:uniform(-3, 5)
  return stream:uniform() < 1 / (1 + math.exp(w - 1))
end

--- The hyperparameters of a batch, drawn from its stream.
return function(stream)
  local h = {
    is_tree = stream:uniform() >= 0.7,
    layers = 2 + round(stream:truncated_log(1, 6)),
    hidden = 4 + round(stream:truncated_log(5, 130)),
    causes = 1 + round(stream:truncated_log(1, 12)),
    init_std = stream:truncated_log(0.01, 10),
    noise_std = stream:truncated_log(1e-4, 0.3),
    dropout = 0.9 * stream:beta(stream:uniform(0.1, 5), stream:uniform(0.1, 5)),
    sampling = stream:choice(SAMPLINGS),
    tree_layers = stream:integer(1, 2),
    tree_hidden = stream:integer(3, 9),
    is_fitted = stream:uniform() < 0.5,
    layers_differ = stream:uniform() < 0.5,
    activation = activation.draw(stream),
  }
  for _, name in ipairs(FLAGS) do h[name] = flag(stream) end
  return h
end
