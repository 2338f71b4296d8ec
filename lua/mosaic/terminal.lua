--- Is there a terminal, how wide is it, may it have colours?
-- Under mpirun every rank's stdout looks like a terminal, even one that goes into a file: there the
-- launcher's word counts (MOSAIC_TTY=columns of stdout:columns of stderr, 0 for no terminal).
local ffi = require "ffi"

ffi.cdef [[
int isatty(int fd);
int ioctl(int fd, unsigned long request, ...);
struct mosaic_window { unsigned short rows, columns, x, y; };
]]

local TIOCGWINSZ = 0x5413
local FD = { stdout = 1, stderr = 2 }

local terminal = {}

local function own_columns(fd)
  if ffi.C.isatty(fd) == 0 then return 0 end
  local window = ffi.new "struct mosaic_window"
  local known = ffi.C.ioctl(fd, TIOCGWINSZ, window) == 0 and window.columns > 0
  return known and window.columns or 80
end

--- Columns of the terminal that "stdout" (default) or "stderr" goes to; nil when it is not a terminal.
function terminal.columns(stream)
  local fd, told = FD[stream or "stdout"], os.getenv "MOSAIC_TTY"
  local columns
  if told then
    columns = tonumber((select(fd, told:match "^(%d+):(%d+)$"))) or 0
  elseif os.getenv "OMPI_COMM_WORLD_RANK" then
    columns = 0
  else
    columns = own_columns(fd)
  end
  return columns > 0 and columns or nil
end

--- May text on the stream carry colours? Not with NO_COLOR or a dumb terminal.
function terminal.colours(stream)
  local off = os.getenv "NO_COLOR" or os.getenv "TERM" == "dumb"
  return not off and terminal.columns(stream) ~= nil
end

return terminal
