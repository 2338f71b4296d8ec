--- Runs a body on virtual worlds of several sizes: `worlds(body)` on 1 to 8 ranks, `worlds(body, { 3 })`.
local mosaic = require "mosaic"

return function(body, sizes)
  for _, size in ipairs(sizes or { 1, 2, 3, 4, 5, 6, 7, 8 }) do mosaic.virtual(size, body) end
end
