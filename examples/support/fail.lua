--- Ends a program over what the user gave it (options, files): a text, with neither a place in the
-- source nor a traceback.
local meta = { __tostring = function(e) return e.message end }

local fail = {}

--- f(...), which reads what the user gave: the text of its error is all there is to say.
function fail.reading(f, ...)
  local results = { pcall(f, ...) }
  if results[1] then return unpack(results, 2) end
  fail("%s", (tostring(results[2]):gsub("^[^:]*%.lua:%d+: ", "")))
end

return setmetatable(fail, { __call = function(_, format, ...)
  error(setmetatable({ message = format:format(...), traceback = false }, meta), 0)
end })
