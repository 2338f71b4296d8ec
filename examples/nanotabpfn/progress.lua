--- Progress on standard error, from rank 0: a bar on a terminal, elsewhere a line now and then.
local mosaic = require "mosaic"

local Progress = mosaic.class "Progress"

local BAR, LINE = 0.1, 30 -- seconds between two drawings, and between two lines

--- total: how many steps there will be.
function Progress:init(total, rank)
  self.total, self.columns = total, mosaic.terminal.columns "stderr"
  self.silent, self.start = rank ~= 0, mosaic.clock()
  self.drawn = self.columns and -1 or self.start
end

local function duration(seconds)
  return ("%d:%02d"):format(math.floor(seconds / 60), math.floor(seconds % 60))
end

--- "120/400  loss 0.581  0:31 left"
function Progress:words(step, text, elapsed)
  local left = step > 0 and elapsed / step * (self.total - step) or 0
  return ("%d/%d  %s  %s left"):format(step, self.total, text, duration(left))
end

--- "[=====>    ] 120/400  loss 0.581  0:31 left", as wide as the terminal allows.
function Progress:bar(step, words)
  local tail = "] " .. words
  local width = math.max(0, math.min(40, self.columns - #tail - 3))
  local filled = math.floor(width * step / self.total)
  return "[" .. ("="):rep(filled) .. (" "):rep(width - filled) .. tail
end

function Progress:update(step, text)
  local now = mosaic.clock()
  local pause = self.columns and BAR or LINE
  if self.silent or now - self.drawn < pause and not (self.columns and step == self.total) then return end
  self.drawn = now
  local words = self:words(step, text, now - self.start)
  if self.columns then
    local line = self:bar(step, words):sub(1, self.columns - 1)
    io.stderr:write("\r", line, (" "):rep(self.columns - 1 - #line))
  else
    io.stderr:write(words, "\n")
  end
  io.stderr:flush()
end

--- Leaves the bar as it stands.
function Progress:finish()
  if self.columns and not self.silent then io.stderr:write "\n" end
end

return Progress
