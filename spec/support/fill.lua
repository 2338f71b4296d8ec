--- `fill({2, 3}, {dtype = "f64", seed = 1})`: a tensor of irregular numbers between -1 and 1, the same
-- every time, without the library's own generator.
local mosaic = require "mosaic"

return function(shape, options)
  options = options or {}
  local count, values = 1, {}
  for _, size in ipairs(shape) do count = count * size end
  for i = 1, count do
    local x = math.sin(i * 12.9898 + (options.seed or 0) * 78.233) * 43758.5453
    values[i] = 2 * (x - math.floor(x)) - 1
  end
  local t = mosaic.tensor(values, { dtype = options.dtype or "f64" }):reshape(shape)
  return options.requires_grad and t:requires_grad_() or t
end
