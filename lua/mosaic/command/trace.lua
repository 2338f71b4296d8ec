--- mosaic-lua trace: one file of what the ranks of a job that failed have left of its trace.
local USAGE = [[
usage: mosaic-lua trace FILE
Makes FILE of FILE.rank0, FILE.rank1.kept, ...: what the ranks of a job with --trace FILE leave when it fails.
`mosaic-lua -n P` does so itself; this is for jobs that another launcher started.
]]

local MOST = 65536

local path, more = ...
if not path or more or path:sub(1, 1) == "-" then
  local help = path == "--help"
  local out = help and io.stdout or io.stderr
  out:write(USAGE)
  os.exit(help and 0 or 2, true)
end

local joined = require "mosaic.timeline".join(path, MOST)
if joined > 0 then return print(("%s: ranks joined: %d"):format(path, joined)) end
io.stderr:write(("mosaic-lua trace: there is no %s.rank0 or another rank's\n"):format(path))
os.exit(1, true)
