--- Speed of the CSV reader on this machine: `luajit scripts/bench/csv.lua [megabytes]`.
-- One thread, thread CPU time, best of three, on a generated file in the page cache.
package.path = "lua/?.lua;lua/?/init.lua;" .. package.path
local mosaic = require "mosaic"

local megabytes = tonumber(arg[1]) or 64
local path = os.tmpname()

--- A file of rows made by `line(i)`, at least so many megabytes.
local function generate(line)
  local file, written, i = assert(io.open(path, "w")), 0, 0
  file:write "a,b,c,d,e\n"
  while written < megabytes * 2 ^ 20 do
    local chunk = {}
    for k = 1, 5000 do
      i = i + 1
      chunk[k] = line(i)
    end
    local text = table.concat(chunk)
    file:write(text)
    written = written + #text
  end
  file:close()
  return written / 2 ^ 20, i
end

local function best_of_3(body)
  local best = math.huge
  for _ = 1, 3 do
    collectgarbage()
    local start = os.clock()
    body()
    best = math.min(best, os.clock() - start)
  end
  return best
end

local function report(name, line)
  local size, rows = generate(line)
  local scan = best_of_3(function() mosaic.data.count_rows(path) end)
  local read = best_of_3(function() mosaic.data.read_csv(path) end)
  print(("%-28s %5.0f MB %9d rows   scan %6.0f MB/s   read %5.0f MB/s   %5.1f M cells/s"):format(
    name, size, rows, size / scan, size / read, rows * 5 / read / 1e6))
end

math.randomseed(1)
local random = math.random
report("short numbers (5.1)", function()
  return ("%.1f,%.1f,%.2f,%d,%.1f\n"):format(random() * 9, random() * 9, random(), random(100), random())
end)
report("17 digits", function()
  return ("%.17g,%.17g,%.17g,%.17g,%.17g\n"):format(random(), random() * 1e3, random(), -random(),
    random() / 1e4)
end)
report("quoted text and numbers", function(i)
  return ('"name %d, ""x""",%.4f,%.4f,word,%d\n'):format(i, random(), random() * 100, i)
end)
os.remove(path)
