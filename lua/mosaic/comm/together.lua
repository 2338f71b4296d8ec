--- Checks before a collective step: what is wrong on one rank is an error on every rank.
local check = require "mosaic.check"
local Comm = require "mosaic.comm.class"

--- Runs body() -> same, own, which checks this rank's arguments and may raise, and lets the ranks agree
-- on `same` (see Comm:agree). An error of body is raised on every rank, as "rank 1: why". Returns the list
-- of every rank's values of both. One rank has nobody to ask.
function Comm:together(where, body)
  check.kind("together", "the name of the operation", where, "string")
  check.callable(where, "the check", body)
  if self.size == 1 then
    local same, own = body()
    for name, value in pairs(own or {}) do same[name] = value end
    return { same }
  end
  local ok, same, own = pcall(body)
  local reason = not ok and tostring(same):gsub("^[^\n]-:%d+: ", "", 1)
  if not ok then same, own = { error = reason }, nil end
  local rows = self:agree(where, same, own)
  if not ok then check.fail("%s", reason) end
  return rows
end

return Comm
