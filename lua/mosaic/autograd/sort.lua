--- sort and topk, differentiable: the values are gathered from the places where they are found.
local state = require "mosaic.state"
local Tensor = require "mosaic.tensor"

for name, axis_argument in pairs { sort = 1, topk = 2 } do
  local method = Tensor[name]
  Tensor[name] = function(self, ...)
    local values, indices = method(self, ...)
    if self.edge and state.current.recording then
      values = self:gather(select(axis_argument, ...) or -1, indices)
    end
    return values, indices
  end
end
