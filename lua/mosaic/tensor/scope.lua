--- Tensors for a while: what a body makes and does not return is freed when it ends.
--
-- The collector comes by after tens of MiB, so that temporaries of a few KiB each are always written to
-- memory that no cache holds: 15 us for 60 KB that take 2 us where they take turns in the same few blocks.
-- And a whole training step in a scope leaves it nothing to find: 6 % of the step.
--
-- What is to stay is kept: the gradients that are in .grad when the body ends, the state of an optimizer, a
-- KVCache's rows, what model:to converts; all else by scope.keep. Recording goes on, but a walk back must be
-- inside, too: behind the scope it fails at the first tensor that it needs. A body cannot yield, or what
-- others make meanwhile would be freed, too: see state.call.
local C = require "mosaic.ffi"
local check = require "mosaic.check"
local operand = require "mosaic.tensor.operand"
local state = require "mosaic.state"
local Tensor = require "mosaic.tensor.class"

local scope = {}

local WEAK_VALUES = { __mode = "v" }

--- Which views the results show: a set.
local function views_of(...)
  local views = {}
  for i = 1, select("#", ...) do
    local value = select(i, ...)
    if Tensor.is(value) then views[value.c] = true end
  end
  return views
end

--- Adds the gradients that leaves got meanwhile and still have; the scope around looks at them again.
local function add_gradients(views, made)
  local outer = made.outer
  for _, leaf in ipairs(made.leaves) do
    if leaf.grad then views[leaf.grad.c] = true end
    if outer and leaf.grad then outer.leaves[#outer.leaves + 1] = leaf end
  end
  return views
end

--- Makes the scope around the owner of a view.
local function pass_on(outer, c)
  if not outer then return end
  outer.count = outer.count + 1
  outer.views[outer.count] = c
end

--- Frees what was made, but for what is kept and what the results show, which belongs to the scope around.
local function leave(made, results)
  local kept, views = made.kept, made.views
  for i = 1, made.count do
    local c = views[i] -- nil: the collector was faster
    if c and results[c] then
      pass_on(made.outer, c)
    elseif c and not (kept and kept[c]) then
      C.mosaic_tensor_clear(c)
    end
  end
end

local function finish(rank, ok, ...)
  local made = rank.made
  rank.made = made.outer
  leave(made, add_gradients(views_of(...), made))
  if not ok then error((...), 0) end
  return ...
end

--- Runs body(...) and returns what it returns. Other tensors that it makes, also those that it puts into
-- tables, are unusable afterwards, unless a result is a view of their numbers.
function scope.run(body, ...)
  check.callable("scope", "the body", body)
  local rank = state.current
  rank.made = {
    count = 0, views = setmetatable({}, WEAK_VALUES), kept = false, leaves = {}, outer = rank.made,
  }
  return finish(rank, state.call(rank, "scope", body, ...))
end

--- Keeps t beyond the scopes that run; returns it.
function scope.keep(t)
  operand("keep", "what to keep", t)
  state.keep(t.c)
  return t
end

return scope
