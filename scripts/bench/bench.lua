--- What the benchmarks share: the clock, contestants that take turns, and rows.
local json = require "mosaic.data.json"
local Peer = require "peer"

--- rows: those so far; brief: two rounds instead of some more; part: what rows must contain.
local bench = { rows = {}, brief = false, part = "", start_peer = Peer.start }

local ROUNDS, BRIEF = 7, 2

--- CPU seconds of this process, all its threads together.
bench.now = os.clock

--- Seconds that have passed for everybody.
bench.wall = require "mosaic.clock"

--- CPU seconds of one call, or seconds of another clock.
function bench.time(body, clock)
  clock = clock or bench.now
  local start = clock()
  body()
  return clock() - start
end

function bench.median(values)
  local sorted = { unpack(values) }
  table.sort(sorted)
  local middle = math.floor((#sorted + 1) / 2)
  return #sorted % 2 == 1 and sorted[middle] or (sorted[middle] + sorted[middle + 1]) / 2
end

--- What a row shows of the seconds that one unit of work takes.
local UNITS = {
  s = function(seconds) return seconds end,
  ms = function(seconds) return seconds * 1e3 end,
  us = function(seconds) return seconds * 1e6 end,
  ["GFLOP/s"] = function(seconds) return 1e-9 / seconds end,
}

local function title(row) return row.variant and row.name .. ", " .. row.variant or row.name end

--- In how many rounds everyone has a turn (medians are taken), where a row does not say so itself.
function bench.rounds(own) return bench.brief and BRIEF or own or ROUNDS end

--- Is a row wanted?
function bench.selected(row) return title(row):find(bench.part, 1, true) ~= nil end

--- Adds a row: name, value, unit, and optionally variant (rows of one name stand in one line of the table),
-- peer, peer_value, ratio (above 1: we are better), rivals = { { name, value }, ... }, note.
function bench.row(row)
  bench.rows[#bench.rows + 1] = row
  local rivals = {}
  for i, rival in ipairs(row.rivals or {}) do rivals[i] = ("%s %.4g"):format(rival.name, rival.value) end
  if not row.rivals and row.peer then rivals[1] = ("%s %.4g"):format(row.peer, row.peer_value) end
  print(("%-58s %9.4g %-9s %-44s %s"):format(title(row), row.value, row.unit, table.concat(rivals, ", "),
    row.ratio and ("ratio %.2f"):format(row.ratio) or ""))
  io.flush()
end

--- The rows that a command prints as lines of JSON, and then it ends well.
function bench.rows_of(command)
  local pipe = assert(io.popen(command .. "; echo status $?"))
  local status
  for line in pipe:lines() do
    status = line:match "^status (%d+)$"
    if line:find "^{" then bench.row(json.decode(line)) end
  end
  pipe:close()
  assert(status == "0", "it failed: " .. command)
end

--- Seconds of one turn, by CPU time or by the clock on the wall.
local function turn(who, wall)
  if who.peer then return who.peer:time(who.case, wall) end
  return bench.time(who.body, wall and bench.wall)
end

--- Contestants that there are: without peers that could not be started.
local function contestants(case)
  local list = { { body = case.body, work = case.work } }
  for _, rival in ipairs(case.rivals or {}) do
    if rival.body or rival.peer then
      rival.name = rival.name or rival.peer.name
      list[#list + 1] = rival
    end
  end
  return list
end

--- Times our body and all rivals in turns; adds a row of medians. The ratio is to the fastest rival.
-- case: name, variant, body, work (default 1), unit (of UNITS, default "s"), rounds, warm_up (rounds before
-- them that do not count: 1), wall = true (time that passes, for more than one thread), note, rivals = {
-- { name, body } or { peer, case }, work }, ... }.
function bench.compare(case)
  if not bench.selected(case) then return end
  local list, unit = contestants(case), case.unit or "s"
  for round = 1 - (bench.brief and 1 or case.warm_up or 1), bench.rounds(case.rounds) do
    for _, who in ipairs(list) do
      local seconds = turn(who, case.wall) / (who.work or case.work or 1)
      who.seconds = who.seconds or {}
      if round > 0 then who.seconds[round] = seconds end
    end
  end
  local row = { name = case.name, variant = case.variant, unit = unit, note = case.note, rivals = {} }
  local best
  for i, who in ipairs(list) do
    who.median = bench.median(who.seconds)
    if i > 1 then
      row.rivals[i - 1] = { name = who.name, value = UNITS[unit](who.median) }
      if not best or who.median < best.median then best = who end
    end
  end
  row.value = UNITS[unit](list[1].median)
  if best then
    row.peer, row.peer_value, row.ratio = best.name, UNITS[unit](best.median), best.median / list[1].median
  end
  bench.row(row)
end

return bench
