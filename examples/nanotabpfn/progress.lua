--- A progress bar on standard error: on rank 0, and only when a person is watching.
local mosaic = require "mosaic"

local Progress = mosaic.class "Progress"

local INTERVAL = 0.1 -- seconds between two drawings

--- total: how many steps there will be.
function Progress:init(total, rank)
  self.total, self.columns = total, rank == 0 and mosaic.terminal.columns "stderr" or nil
  self.start, self.drawn = mosaic.clock(), -1
end

local function duration(seconds)
  return ("%d:%02d"):format(math.floor(seconds / 60), math.floor(seconds % 60))
end

--- "[=====>    ] 120/400  loss 0.581  0:31 left", as wide as the terminal allows.
function Progress:line(step, text, elapsed)
  local left = step > 0 and elapsed / step * (self.total - step) or 0
  local tail = ("] %d/%d  %s  %s left"):format(step, self.total, text, duration(left))
  local width = math.max(0, math.min(40, self.columns - #tail - 3))
  local filled = math.floor(width * step / self.total)
  return "[" .. ("="):rep(filled) .. (" "):rep(width - filled) .. tail
end

function Progress:update(step, text)
  local now = mosaic.clock()
  if not self.columns or (now - self.drawn < INTERVAL and step < self.total) then return end
  self.drawn = now
  local line = self:line(step, text, now - self.start):sub(1, self.columns - 1)
  io.stderr:write("\r", line, (" "):rep(self.columns - 1 - #line))
  io.stderr:flush()
end

--- Leaves the bar as it stands.
function Progress:finish()
  if self.columns then io.stderr:write "\n" end
end

return Progress
