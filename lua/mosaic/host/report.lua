--- How an error appears on stderr: with its traceback and, among several ranks, with who says so.
--
-- Under our launcher every line of a report starts with MARK, so that it can tell a report from what a
-- script prints, and join equal ones; see relay.lua.
local report = {}

report.MARK = "\30"

--- An error value as text.
local function text_of(value)
  if type(value) == "string" then return value end
  local meta = getmetatable(value)
  if type(meta) == "table" and meta.__tostring then return tostring(value) end
  return ("(error object is a %s value)"):format(type(value))
end

--- Message handler: text and traceback, without the frames of the host itself. An error object with
-- `traceback = false` says all there is to say.
function report.traceback(value)
  if type(value) == "table" and value.traceback == false then return text_of(value) end
  local text = debug.traceback(text_of(value), 2)
  local kept = {}
  for line in text:gmatch "[^\n]+" do
    if #kept > 0 and line:find "mosaic/host/%w+%.lua:" then break end
    kept[#kept + 1] = line
  end
  local function is_host(line) return line:find "^%s*%[C%]: " or line:find "^%s*%[builtin#" end
  while #kept > 1 and is_host(kept[#kept]) do kept[#kept] = nil end
  if kept[#kept] == "stack traceback:" then kept[#kept] = nil end
  return table.concat(kept, "\n")
end

--- The text with "[rank 1/4 host] " before each line.
function report.prefixed(text, rank, size, host, mark)
  local prefix = ("%s[rank %d/%d %s] "):format(mark or "", rank, size, host)
  return prefix .. text:gsub("\n", function() return "\n" .. prefix end) .. "\n"
end

return report
