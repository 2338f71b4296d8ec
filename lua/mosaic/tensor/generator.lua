--- A source of random numbers: a seed, and how many streams were taken from it.
--
-- While `Generator.watch(body)` runs, a generator notes its place before it first moves, so that who
-- computes body again (checkpoint) can take every generator back to where it stood.
local check = require "mosaic.check"
local class = require "mosaic.class"
local state = require "mosaic.state"

local Generator = class "Generator"

function Generator:init(seed)
  self.seed, self.calls = check.integer("generator", "seed", seed, 0), 0
end

--- For whoever watches: only the first place counts.
local function note(self)
  local places = state.current.places
  if places and not places[self] then places[self] = { seed = self.seed, calls = self.calls } end
end

--- Starts again from `seed` (an integer, 0 .. 2^53).
function Generator:manual_seed(seed)
  note(self)
  self:init(seed)
  return self
end

--- How many tensors were drawn; seek goes (back) to such a place.
function Generator:position() return self.calls end

function Generator:seek(position)
  note(self)
  self.calls = check.integer("generator", "position", position, 0)
  return self
end

--- The number of the next stream.
function Generator:next_stream()
  note(self)
  self.calls = self.calls + 1
  return self.calls - 1
end

--- Calls body(...), for checkpoint; returns where each generator that moved had stood, then its results.
function Generator.watch(body, ...)
  local rank, places = state.current, {}
  local outer = rank.places
  rank.places = places
  return (function(ok, ...)
    rank.places = outer
    for generator, place in pairs(outer and places or {}) do
      outer[generator] = outer[generator] or place
    end
    if not ok then error((...), 0) end
    return places, ...
  end)(state.call(rank, "checkpoint", body, ...))
end

--- Takes every generator to its place in a table that watch gave.
function Generator.go_back(places)
  for generator, place in pairs(places) do
    note(generator)
    generator.seed, generator.calls = place.seed, place.calls
  end
end

return Generator
