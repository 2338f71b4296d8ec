--- The exact strategies besides local and ring, whichever there are: a list of { name, wanted }, where
-- `wanted` is how one is asked for.
local mosaic = require "mosaic"

local OPTIONS = { hierarchical = { intra_node_size = 2, intra_node_strategy = "ring" } }

local list = {}
for _, name in ipairs(mosaic.strategy.names()) do
  local exact = not mosaic.strategy.get(name).body.approximate
  if exact and name ~= "local" and name ~= "ring" then
    local wanted = { name }
    for option, value in pairs(OPTIONS[name] or {}) do wanted[option] = value end
    list[#list + 1] = { name = name, wanted = OPTIONS[name] and wanted or name }
  end
end

return list
