--- Rows of the GPU benchmark: our time and the peers' in turns, medians, and what the goal says.
--
-- A time is that of one call, from as many calls without waiting as take `span` seconds, by the wall clock
-- between two points at which the device has nothing to do: the peer does the same. What cannot be done
-- is a row that says why, and the others go on.
local bench = require "bench"
local json = require "mosaic.data.json"
local mosaic = require "mosaic"

local MOST_CALLS = 1000
local LATE = "no time was left"

local measure = { rows = {} }

--- options: peer (nil: none), repetitions, span, deadline (by bench.wall), wanted (a part of rows' names),
-- save (called after every row), warm (measure nothing, let the peer compile what it compiles), tiny (times
-- mean nothing).
function measure.begin(options)
  measure.options = options
end

local function selected(name)
  return name:lower():find(measure.options.wanted:lower(), 1, true) ~= nil
end

local function first_line(err) return tostring(err):match "^[^\n]*" end

--- Seconds of one of `count` calls.
local function seconds_of(body, count)
  mosaic.synchronize()
  local start = bench.wall()
  for _ = 1, count do body() end
  mosaic.synchronize()
  return (bench.wall() - start) / count
end

--- A function that measures a body, after the first calls; or nil and why the body fails.
local function ours(body)
  local ok, result = pcall(function()
    body()
    body()
    local count = math.ceil(measure.options.span / math.max(seconds_of(body, 1), 1e-7))
    return math.max(1, math.min(MOST_CALLS, count))
  end)
  if not ok then return nil, first_line(result) end
  return function() return seconds_of(body, result) end
end

--- A function that measures a case of the peer; or nil and why it cannot.
local function theirs(line)
  local first = json.decode(measure.options.peer:ask(line))
  if first.why then return nil, first.why end
  return function() return json.decode(measure.options.peer:ask(line)).seconds end
end

local function out_of_time()
  return bench.wall() > measure.options.deadline
end

--- Who takes part: { name, time = function, seconds = {} }, or with `why` instead of `time`.
local function participants(case)
  local list = {}
  local function join(name, prepare, what)
    local time, why
    if out_of_time() then why = LATE else time, why = prepare(what) end
    list[#list + 1] = { name = name, time = time, why = why, seconds = {} }
  end
  join("mosaic", ours, case.body)
  for _, peer in ipairs(measure.options.peer and case.peers or {}) do join(peer[1], theirs, peer[2]) end
  return list
end

--- The fastest peer.
local function rival(list)
  local best
  for i = 2, #list do
    if list[i].median and not (best and best.median <= list[i].median) then best = list[i] end
  end
  return best
end

local function value_of(case, seconds)
  return seconds and (case.scale and case.scale(seconds) or seconds * 1e3)
end

local function show(value) return value and ("%.4g"):format(value) or "-" end

local function add(row)
  measure.rows[#measure.rows + 1] = row
  if row.goal and row.ratio and not measure.options.tiny then row.met = row.ratio >= row.goal end
  local ratio = row.ratio and ("%.2f x %s"):format(row.ratio, row.rival) or ""
  local verdict = row.why or row.met == false and "goal missed" or ""
  print(("%-52s %8s %-8s %s %s"):format(row.name, show(row.value), row.unit or "", ratio, verdict))
  io.flush()
  measure.options.save()
end

--- Adds the row that body() returns: { value, unit, met, ... }, without its name. What we cannot do makes a
-- row `failed`; a peer that cannot is its own affair.
function measure.check(name, body)
  if measure.options.warm or not selected(name) then return end
  local ok, row = true, { why = LATE }
  if not out_of_time() then ok, row = pcall(body) end
  row = ok and row or { why = first_line(row), failed = true }
  row.name = name
  add(row)
end

local function warm(case)
  for _, peer in ipairs(case.peers or {}) do
    if peer[1] == "flex" and not out_of_time() then theirs(peer[2]) end
  end
end

--- Measures a case: { name, body, unit, scale(seconds) -> value (default ms), goal (our speed over the
-- rival's), peers = { { name, line }, ... } }.
function measure.compare(case)
  if not selected(case.name) then return end
  if measure.options.warm then return warm(case) end
  local list = participants(case)
  for _ = 1, measure.options.repetitions do
    for _, who in ipairs(list) do
      if who.time then who.seconds[#who.seconds + 1] = who.time() end
    end
  end
  local row = {
    name = case.name, unit = case.unit or "ms", goal = case.goal, peers = {}, why = list[1].why,
    failed = list[1].why ~= nil and list[1].why ~= LATE or nil,
  }
  for i, who in ipairs(list) do
    who.median = who.time and bench.median(who.seconds) or nil
    if i > 1 then row.peers[who.name] = value_of(case, who.median) or who.why end
  end
  local own, other = list[1].median, rival(list)
  row.value, row.rival = value_of(case, own), other and other.name
  row.ratio = own and other and other.median / own
  add(row)
  if measure.options.peer then measure.options.peer:ask "forget" end
  collectgarbage()
end

return measure
