--- Events of traces as text for ui.perfetto.dev, and what the ranks of a job left behind put together.
local ffi = require "ffi"
local C = require "mosaic.ffi"
local check = require "mosaic.check"

local timeline = {}

local HOST, COMPUTE = tonumber(C.MOSAIC_TRACE_HOST), tonumber(C.MOSAIC_TRACE_COMPUTE)
local HEAD, TAIL = '{"displayTimeUnit":"ms","traceEvents":[\n', "\n]}\n"

--- The events from number `first` on, in order: of one of the process's ranks, by its account, or all.
function timeline.events(first, account)
  local list, event = {}, ffi.new "mosaic_trace_event"
  for i = first, tonumber(C.mosaic_trace_count()) - 1 do
    check.call("mosaic_trace_read", event, i)
    if not account or event.account == account then
      list[#list + 1] = {
        name = ffi.string(event.name), text = ffi.string(event.text), device = ffi.string(event.device),
        row = tonumber(event.row), begin = event.begin * 1e6, finish = event["end"] * 1e6,
      }
    end
  end
  return list
end

--- Names of rows by number, in the order in which they are shown. Messages overlap, so each takes the first
-- row that is free.
local function deal_rows(events)
  local names, numbers, free = {}, {}, {}
  local function row(name)
    if not numbers[name] then
      names[#names + 1] = name
      numbers[name] = #names
    end
    return numbers[name]
  end
  row "host"
  for _, e in ipairs(events) do
    if e.row == COMPUTE then e.row_number = row(e.device) end
    if e.row == HOST then e.row_number = row "host" end
  end
  table.sort(events, function(a, b) return a.begin < b.begin end)
  for _, e in ipairs(events) do
    if not e.row_number then
      local lane = 1
      while free[lane] and free[lane] > e.begin do lane = lane + 1 end
      free[lane] = e.finish
      e.row_number = row(lane == 1 and "communication" or "communication " .. lane)
    end
  end
  return names
end

--- The length of the UTF-8 character at byte i, or nil.
local function character(text, i)
  for _, pattern in ipairs {
    "^[%z\1-\127]", "^[\194-\223][\128-\191]", "^\224[\160-\191][\128-\191]", "^\237[\128-\159][\128-\191]",
    "^[\225-\236\238\239][\128-\191][\128-\191]", "^\240[\144-\191][\128-\191][\128-\191]",
    "^[\241-\243][\128-\191][\128-\191][\128-\191]", "^\244[\128-\143][\128-\191][\128-\191]",
  } do
    local _, last = text:find(pattern, i)
    if last then return last - i + 1 end
  end
end

--- The text in UTF-8: bytes that are no character become U+FFFD. One that is cut off at the end goes.
local function readable(text)
  if not text:find "[\128-\255]" then return text end
  text = text:gsub("[\194-\244][\128-\191]*$", function(last) return character(last, 1) and last or "" end)
  local parts, i = {}, 1
  while i <= #text do
    local length = character(text, i)
    parts[#parts + 1] = length and text:sub(i, i + length - 1) or "\239\191\189"
    i = i + (length or 1)
  end
  return table.concat(parts)
end

local function quoted(text)
  return '"' .. readable(text):gsub('[%c"\\]', function(c) return ("\\u%04x"):format(c:byte()) end) .. '"'
end

local function metadata(rank, row, kind, key, value)
  return ('{"ph":"M","pid":%d,"tid":%d,"name":"%s","args":{"%s":%s}}'):format(rank, row, kind, key, value)
end

local function complete(rank, e, zero)
  local arguments = e.text ~= "" and { '"what":' .. quoted(e.text) } or {}
  if e.open then arguments[#arguments + 1] = '"unfinished":true' end
  return ('{"ph":"X","pid":%d,"tid":%d,"name":%s,"ts":%.3f,"dur":%.3f,"args":{%s}}'):format(rank,
    e.row_number, quoted(e.name), e.begin - zero, e.finish - e.begin, table.concat(arguments, ","))
end

--- A rank's part of the file: what it did, with commas between.
function timeline.part(rank, events, zero, stopped)
  for _, e in ipairs(events) do
    e.open = e.finish ~= e.finish
    if e.open then e.finish = math.max(stopped, e.begin) end
  end
  local list = { metadata(rank, 0, "process_name", "name", quoted("rank " .. rank)) }
  for row, name in ipairs(deal_rows(events)) do
    list[#list + 1] = metadata(rank, row, "thread_name", "name", quoted(name))
    list[#list + 1] = metadata(rank, row, "thread_sort_index", "sort_index", row)
  end
  for _, e in ipairs(events) do list[#list + 1] = complete(rank, e, zero) end
  return table.concat(list, ",\n")
end

--- A whole file.
function timeline.write(path, text)
  local file, why = io.open(path, "w")
  if not file then return check.fail("trace: cannot write %s", why) end
  file:write(HEAD, text, TAIL)
  file:close()
end

--- A rank's part of a file, which it wrote as it left; and its events as the core keeps them until then.
function timeline.part_path(path, rank) return ("%s.rank%d"):format(path, rank) end
function timeline.kept_path(path, rank) return timeline.part_path(path, rank) .. ".kept" end

local function read(path)
  local file = io.open(path, "rb")
  local text = file and file:read "*a"
  if file then file:close() end
  return text
end

--- What rank left: { text =, latest = }, or { events =, zero =, latest = }; nil: nothing.
local function left_by(rank, path)
  local text = read(timeline.part_path(path, rank))
  local one = { text = text and text:sub(#HEAD + 1, -#TAIL - 1), latest = 0 }
  if text then
    for at, lasted in text:gmatch '"ts":([%d.]+),"dur":([%d.]+)' do
      one.latest = math.max(one.latest, at + lasted)
    end
    return one
  end
  local zero = ffi.new "double[1]"
  if C.mosaic_trace_load(timeline.kept_path(path, rank), zero) ~= C.MOSAIC_OK then return nil end
  one.events, one.zero = timeline.events(0), zero[0]
  for _, e in ipairs(one.events) do
    one.latest = math.max(one.latest, e.begin - one.zero, e.finish == e.finish and e.finish - one.zero or 0)
  end
  return one
end

--- Makes one file of what the ranks (of `size`) of a job have left beside it, if they have; what had not
-- ended lasts until `now` (microseconds), or until the last of them left. Returns how many ranks are in it.
function timeline.join(path, size, now)
  local ranks, latest, parts = {}, 0, {}
  for rank = 0, size - 1 do
    ranks[rank] = left_by(rank, path)
    latest = math.max(latest, ranks[rank] and ranks[rank].latest or 0)
  end
  for rank = 0, size - 1 do
    local one = ranks[rank]
    local stopped = one and one.events and math.max(one.zero + latest, now or 0)
    parts[#parts + 1] = one and (one.text or timeline.part(rank, one.events, one.zero, stopped))
  end
  if #parts == 0 then return 0 end
  timeline.write(path, table.concat(parts, ",\n"))
  for rank in pairs(ranks) do
    os.remove(timeline.part_path(path, rank))
    os.remove(timeline.kept_path(path, rank))
  end
  return #parts
end

return timeline
