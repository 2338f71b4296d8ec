--- Runs body() on the ranks that the program was started on, or, if that is one, on so many virtual ones.
local mosaic = require "mosaic"

return function(count, body)
  if mosaic.comm.world().size > 1 then return body() end
  mosaic.virtual(count, body)
end
