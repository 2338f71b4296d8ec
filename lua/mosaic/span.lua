--- Spans of the host's row of a trace (mosaic.trace), for those who stand below it.
local C = require "mosaic.ffi"

local span = {}

local function close(number, ok, ...)
  C.mosaic_trace_close(number)
  if not ok then error((...), 0) end
  return ...
end

--- Does anybody listen?
function span.wanted() return C.mosaic_trace_is_on() end

--- Runs body(...) as a span; text (or nil) tells more than its name.
function span.run(name, text, body, ...)
  return close(C.mosaic_trace_open(name, text), pcall(body, ...))
end

return span
