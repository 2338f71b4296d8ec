--- Ends a program over what the user gave it (options, files): a text, with neither a place in the
-- source nor a traceback.
local meta = { __tostring = function(e) return e.message end }

return function(format, ...)
  error(setmetatable({ message = format:format(...), traceback = false }, meta), 0)
end
