--- Strategies by name. A built-in one is a file of this folder, opened when it is first asked for;
-- a script adds its own with `define`.
--
-- A strategy is a function(comm, q, k, v, plan) -> out, lse (see plan.lua).
local check = require "mosaic.check"

local strategy = {}

local BUILT_IN = { "local", "ring" }
local defined = {}

--- All names, sorted.
function strategy.names()
  local names = { unpack(BUILT_IN) }
  for name in pairs(defined) do names[#names + 1] = name end
  table.sort(names)
  return names
end

--- Makes a script's own strategy known by name.
function strategy.define(name, body)
  if type(body) ~= "function" then
    check.fail("strategy.define: '%s' needs a function(comm, q, k, v, plan), got %s", name, check.show(body))
  end
  defined[name] = body
  return body
end

--- The strategy of that name; a function is its own strategy.
function strategy.get(name)
  if type(name) == "function" then return name end
  if defined[name] then return defined[name] end
  return require("mosaic.strategy." .. check.one_of("strategy", "strategy", name, strategy.names()))
end

return strategy
