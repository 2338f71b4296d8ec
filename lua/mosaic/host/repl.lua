--- The prompt: reads chunks, over several lines where they need it, and prints what they return.
local complete = require "mosaic.host.complete"
local report = require "mosaic.host.report"

local CHUNK = "=prompt"

local history = (os.getenv "HOME" or ".") .. "/.mosaic_history"

--- The text as an expression, else as statements; nil, a message and whether more lines may mend it.
local function compile(text)
  local expression = text:gsub("^%s*=", "")
  local chunk = load("return " .. expression, CHUNK, "t")
  if chunk then return chunk end
  local wrong
  chunk, wrong = load(text, CHUNK, "t")
  return chunk, wrong, wrong ~= nil and wrong:find("'<eof>'", 1, true) ~= nil
end

--- A whole chunk from the terminal: nil at the end of the input, false after Ctrl-C; then the compiled
-- chunk, or nil and a message.
local function read_chunk(host)
  local text, prompt = nil, "> "
  while true do
    local line = host.read_line(prompt)
    if not line then return line end
    if line:find "%S" then host.remember(line, history) end
    text = text and text .. "\n" .. line or line
    local chunk, wrong, unfinished = compile(text)
    if chunk or not unfinished then return text, chunk, wrong end
    prompt = ">> "
  end
end

local function show(ok, ...)
  if not ok then return false, (...) end
  if select("#", ...) > 0 then print(...) end
  return true
end

--- Runs the chunk; errors, and Ctrl-C, come back to the prompt.
local function evaluate(host, chunk)
  jit.off(chunk, true) -- a compiled loop would not notice Ctrl-C; what it calls may be compiled
  host.catch_interrupt(true)
  local ok, text = show(xpcall(chunk, report.traceback))
  host.catch_interrupt(false)
  if not ok then host.write_error(text .. "\n") end
end

local function load_mosaic(host)
  local ok, mosaic = pcall(require, "mosaic")
  if ok then _G.mosaic = mosaic else host.write_error(("mosaic is not loaded: %s\n"):format(mosaic)) end
end

return function(host)
  load_mosaic(host)
  local editing = host.open_editor(function(word) return complete(word, _G) end, history)
  print(("mosaic-lua %s (%s)%s"):format(host.version, jit.version,
    host.terminal(0) and not editing and ", install libedit2 for line editing" or ""))
  while true do
    local text, chunk, wrong = read_chunk(host)
    if text == nil then break end
    if text == false then
      print()
    elseif chunk then
      evaluate(host, chunk)
    else
      host.write_error(wrong .. "\n")
    end
  end
  if host.terminal(0) then print() end
  return 0
end
