--- The contract of every strategy on MPI ranks: few cases of each kind; virtual ranks have them all.
local mosaic = require "mosaic"
local cases = require "spec.support.contract_cases"
local contract = require "spec.support.contract"
local particulars = require "spec.support.contract_particulars"

local world = mosaic.comm.world()
local MASKS = {
  none = cases.MASKS.none, causal = cases.MASKS.causal, documents = cases.MASKS.documents,
  bias = cases.MASKS.bias, ["score by a function"] = cases.MASKS["score by a function"],
}

--- This rank's result on the ranks of the job.
local function on_world(_, body) return { body(world) }, world.rank end

--- The particulars of a strategy, with no more cases than a leg has time for.
local function few(own)
  local options = { lengths = { 0, 13 }, ranks = { world.size }, run = on_world, masks = MASKS }
  for name, value in pairs(own) do options[name] = value end
  return options
end

describe("on MPI ranks the contract", function()
  for _, name in ipairs(mosaic.strategy.names()) do
    local own = particulars[name] or {}
    if name ~= "local" then
      describe("of " .. name, function() contract(it, own.strategy or name, few(own)) end)
    end
  end
end)
