--- `fails("text", function(...) ... end, ...)`: the call must raise an error that contains the text and whose
-- position is a line inside that function: errors point at the user's line.
return function(text, body, ...)
  local ok, message = pcall(body, ...)
  assert(not ok, "no error was raised; expected: " .. text)
  assert(type(message) == "string", "the error is not a string")
  assert(message:find(text, 1, true), ("expected %q in the error %q"):format(text, message))
  local info = debug.getinfo(body, "S")
  local file, line = message:match "^(.-):(%d+): "
  assert(file and info.short_src:sub(-#file) == file and tonumber(line) >= info.linedefined
    and tonumber(line) <= info.lastlinedefined,
    ("the error does not point at the caller's line (%s:%d-%d): %s"):format(
      info.short_src, info.linedefined, info.lastlinedefined, message))
end
