--- Wall time of whole programs that do next to nothing, since most of it is the system's.
local bench = require "bench"

return function(place)
  local function row(name, program, rival)
    local function runs(command) -- one that fails at once is not fast
      return function() assert(os.execute("exec " .. command) == 0, command .. " has failed") end
    end
    if rival and os.execute("command -v " .. rival:match "%S+" .. " >/dev/null") ~= 0 then rival = nil end
    bench.compare {
      name = name, unit = "ms", wall = true, rounds = 50, body = runs(place.build .. "/" .. program),
      rivals = rival and { { name = "`" .. rival .. "`", body = runs(rival) } },
    }
  end
  row("start-up of `mosaic-lua -e ''`", "mosaic-lua -e ''", "luajit -e ''")
  row("start-up, a first tensor and the end", "mosaic-lua -e 'mosaic.zeros { 1 }'")
end
