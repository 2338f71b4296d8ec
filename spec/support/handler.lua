--- busted's output: failures in full as they happen, and `N passed, N failed` as the last line.
--
-- With MOSAIC_RESULTS=path every outcome also goes to the file path.RANK, a line each:
-- "pass|fail|skip <tab> name <tab> message", and "end" when the run was not cut short.
-- scripts/run-specs.lua reads them and joins what the ranks say.
local base = require "busted.outputHandlers.base"

local function escape(text)
  return (text:gsub("[\\\n\t]", { ["\\"] = "\\\\", ["\n"] = "\\n", ["\t"] = " " }))
end

local function open_results()
  local path = os.getenv "MOSAIC_RESULTS"
  return path and assert(io.open(path .. "." .. (os.getenv "OMPI_COMM_WORLD_RANK" or "0"), "w"))
end

local function text_of(message)
  return type(message) == "string" and message or tostring(message and message.message or message)
end

return function()
  local busted = require "busted"
  local handler = base()
  local results = open_results()
  local count = { pass = 0, fail = 0, skip = 0 }

  local function record(outcome, element, message)
    count[outcome] = count[outcome] + 1
    if results then
      results:write(outcome, "\t", escape(handler.getFullName(element)), "\t", escape(message or ""), "\n")
      results:flush()
    end
  end

  local function place(element, trace)
    local at = trace or element.trace
    return at and at.short_src and ("%s:%d: "):format(at.short_src, at.currentline or 0) or ""
  end

  function handler.fail(element, _, message, trace)
    local text = text_of(message)
    if not text:find "^%S+:%d+: " then text = place(element, trace) .. text end
    if trace and trace.traceback and type(message) == "string" then text = text .. "\n" .. trace.traceback end
    record("fail", element, text)
    if not results then
      print(("FAILED %s\n  %s"):format(handler.getFullName(element), (text:gsub("\n", "\n  "))))
    end
    return nil, true
  end

  function handler.test_end(element, _, status)
    if status == "success" then record("pass", element) end
    if status == "pending" then record("skip", element) end
    return nil, true
  end

  function handler.finish()
    if results then
      results:write "end\n"
      results:close()
    else
      if count.skip > 0 then print(("(%d skipped)"):format(count.skip)) end
      print(("%d passed, %d failed"):format(count.pass, count.fail))
    end
    return nil, true
  end

  busted.subscribe({ "test", "end" }, handler.test_end)
  busted.subscribe({ "failure" }, handler.fail)
  busted.subscribe({ "error" }, handler.fail)
  busted.subscribe({ "exit" }, handler.finish)
  return handler
end
