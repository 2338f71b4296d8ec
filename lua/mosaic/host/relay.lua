--- What the ranks write to stderr, on its way to the user: equal error reports become one.
--
-- Reports are the lines that start with report.MARK. They wait until no further report came for QUIET
-- seconds; then each different text is written once, with the ranks that said it. Other lines pass at
-- once, unless a report came before and they are mpirun's framed explanation of the abort it led to.
local report = require "mosaic.host.report"

local QUIET = 0.4

local Relay = {}
Relay.__index = Relay

--- write(text) puts text on the user's terminal.
local function new(write)
  return setmetatable({ write = write, tail = "", pending = {}, order = {}, reported = nil }, Relay)
end

--- {0, 1, 2, 5} -> "0-2,5"
local function ranges(ranks)
  table.sort(ranks)
  local parts, first = {}, 1
  for i = 1, #ranks do
    if ranks[i + 1] ~= ranks[i] + 1 then
      parts[#parts + 1] = first == i and tostring(ranks[i]) or ("%d-%d"):format(ranks[first], ranks[i])
      first = i + 1
    end
  end
  return table.concat(parts, ",")
end

--- Keeps one line of a report with the others of its rank.
function Relay:note(line, now)
  local rank, size, host, text = line:match "^%[rank (%d+)/(%d+) ([^%]]*)%] ?(.*)$"
  if not rank then return self.write(line .. "\n") end
  local entry = self.pending[rank]
  if not entry then
    entry = { rank = tonumber(rank), size = size, host = host, lines = {} }
    self.pending[rank] = entry
    self.order[#self.order + 1] = entry
  end
  entry.lines[#entry.lines + 1] = text
  self.reported, self.latest = self.reported or now, now
end

--- Writes the reports that wait, equal ones together.
function Relay:flush()
  local groups, by_text = {}, {}
  for _, entry in ipairs(self.order) do
    local key = entry.host .. "\n" .. table.concat(entry.lines, "\n")
    if not by_text[key] then
      by_text[key] = { ranks = {}, entry = entry }
      groups[#groups + 1] = by_text[key]
    end
    table.insert(by_text[key].ranks, entry.rank)
  end
  for _, group in ipairs(groups) do
    local entry, several = group.entry, #group.ranks > 1 and "ranks" or "rank"
    local prefix = ("[%s %s/%s %s] "):format(several, ranges(group.ranks), entry.size, entry.host)
    self.write(prefix .. table.concat(entry.lines, "\n" .. prefix) .. "\n")
  end
  self.pending, self.order, self.latest = {}, {}, nil
end

--- Does mpirun speak of its own bookkeeping? "[host:pid] ..." is what it and its daemons write.
function Relay:is_chatter(line)
  return line:find("orte_base_help_aggregate", 1, true) or line:find "^%[[^%]]+:%d+%] %d+ more process"
    or self.reported and line:find "^%[[^%] ]+:%d+%] "
end

--- mpirun frames what it says between two lines of dashes.
function Relay:pass(line)
  local border = line:match "^%-%-%-%-%-%-%-%-%-%-%-%-%-%-%-%-%-%-%-%-%-*$"
  if self.frame then
    table.insert(self.frame, line)
    if border then self:end_frame() end
  elseif border then
    self.frame = { line }
  elseif not self:is_chatter(line) then
    self.write(line .. "\n")
  end
end

--- Whoever aborts has said why; other frames tell what nobody else does, unless a report came before.
function Relay:end_frame()
  local lines = self.frame
  self.frame = nil
  local abort = lines[2] and lines[2]:find "^MPI_ABORT was invoked"
  if not self.reported and not abort then self.write(table.concat(lines, "\n") .. "\n") end
end

--- Takes the text that just arrived.
function Relay:feed(text, now)
  local all = (self.tail .. text):gsub("([^\n])" .. report.MARK, "%1\n" .. report.MARK)
  self.tail = ""
  for line, ending in all:gmatch "([^\n]*)(\n?)" do
    local first = line:sub(1, 1)
    if ending == "" then
      if first == "" or first == report.MARK or first == "-" or self.frame then
        self.tail = self.tail .. line
      else
        self.write(line) -- an unfinished line, such as a progress bar
      end
    elseif first == report.MARK then
      self:note(line:sub(2), now)
    else
      self:pass(line)
    end
  end
end

--- Time passes.
function Relay:tick(now)
  if self.latest and now - self.latest > QUIET then self:flush() end
end

--- Nothing more will come.
function Relay:close()
  if self.tail ~= "" then self:feed("\n", 0) end
  if self.frame then self:end_frame() end
  self:flush()
end

return { new = new, ranges = ranges }
