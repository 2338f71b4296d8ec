--- What elementwise methods take: tensors, numbers, and tensors to be written.
local check = require "mosaic.check"
local Tensor = require "mosaic.tensor.class"

local argument = {}

--- The C view of an argument that must be a tensor.
function argument.tensor(where, value)
  if getmetatable(value) == Tensor then return value.c end
  check.fail("%s: expected a tensor (or a number), got %s", where, check.show(value))
end

function argument.number(where, what, value, default)
  if value == nil and default ~= nil then return default end
  if type(value) == "number" then return value end
  check.fail("%s: %s must be a number, got %s", where, what, check.show(value))
end

--- The C view that an in-place form writes; nothing involved may take part in a gradient.
function argument.target(where, self, ...)
  self:refuse_in_place(where)
  for i = 1, select("#", ...) do
    local other = select(i, ...)
    if getmetatable(other) == Tensor then other:refuse_in_place(where) end
  end
  return self.c
end

return argument
