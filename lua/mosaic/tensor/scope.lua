--- Tensors for a while: what a body makes and does not return is freed when it ends.
--
-- The collector comes by after tens of MiB, so that temporaries of a few KiB each are always written to
-- memory that no cache holds: 15 us for 60 KB that take 2 us where they take turns in the same few blocks.
--
-- Inside, nothing is recorded: the tape would keep what is freed here. And what is to stay is made before:
-- gradients, an optimizer's state, caches. A body cannot yield, or what others make meanwhile would be
-- freed, too; but virtual ranks may, as each has a list of its own.
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local state = require "mosaic.state"
local Tensor = require "mosaic.tensor.class"

local scope = {}

--- Which views the results show: a set.
local function views_of(...)
  local views = {}
  for i = 1, select("#", ...) do
    local value = select(i, ...)
    if Tensor.is(value) then views[value.c] = true end
  end
  return views
end

--- Frees the views in `made`, but for those that the results show: they belong to the scope around this one.
local function leave(made, outer, kept)
  for i = 1, made.count do
    local c = made[i]
    if not kept[c] then
      C.mosaic_tensor_clear(c)
    elseif outer then
      outer.count = outer.count + 1
      outer[outer.count] = c
    end
  end
end

local function finish(rank, recording, outer, ok, ...)
  local made = rank.made
  rank.made, rank.recording = outer, recording
  leave(made, outer, views_of(...))
  if not ok then error((...), 0) end
  return ...
end

--- pcall for a body in a coroutine of the caller's: Lua refuses to yield through gsub, where the body asks.
local function call_without_yield(body, ...)
  local arguments, count, results = { ... }, select("#", ...), nil
  local function keep(...) results = { n = select("#", ...), ... } end
  string.gsub(".", ".", function() keep(pcall(body, unpack(arguments, 1, count))) end)
  return unpack(results, 1, results.n)
end

--- Does the rank itself run, and none of its coroutines? (Some Luas count the main program as one.)
local function is_own_thread(rank)
  local thread, main = coroutine.running()
  return main or thread == rank.thread
end

--- Runs body(...) and returns what it returns. Other tensors that it makes, also those that it puts into
-- tables, are unusable afterwards, unless a result is a view of their numbers.
function scope.run(body, ...)
  check.callable("scope", "the body", body)
  local rank = state.current
  local outer, recording = rank.made, rank.recording
  rank.made, rank.recording = { count = 0 }, false
  local call = is_own_thread(rank) and pcall or call_without_yield
  return finish(rank, recording, outer, call(body, ...))
end

return scope
