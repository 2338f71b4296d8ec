--- Strategies by name. A built-in one is a file of this folder, opened when it is first asked for;
-- a script adds its own with `define`.
--
-- Wherever a strategy is asked for, it is a name, a function, or a table { name or function,
-- option = value, ... }, so that strategies take others as their inner ones:
--   { "hierarchical", intra_node_size = 4, inter_node_strategy = { "ring", directions = 2 } }
--
-- A strategy's file returns a table:
--   attend(comm, q, k, v, plan) -> out, lse   the strategy itself; see plan.lua
--   backward(comm, q, k, v, plan, g) -> dk, dv  optional, see rotate.lua: spares computing twice
--   writes = true                             backward knows g.places, see partial.lua
--   options = { names }                       what its table may say; found in plan.options
--   check(plan, sizes)                        fails where it cannot be exact: arithmetic on what all
--                                             ranks know, so all fail, before the first message
--   volume(plan, sizes) -> bytes              what this rank sends forward; nil where it cannot say
--   memory(plan, sizes) -> bytes              most that this rank holds forward; -1: no promise
--   balanced = true                           equal shares of the rows are equal work (or a function of
--                                             the options that says so)
--   approximate = "why"                       absent: equal to one rank, where the inner ones are
--   inner(options) -> list                    the strategies that it runs as they are asked for
--   reference(queries, keys, options)         optional: a strategy that computes on one rank what ranks with
--                                             these rows do, where that depends on the ranks
--   verify = { mask = text, layout = name, ranks = number, batch = f(ranks) }   for what does not take all of
--                                             them: the options of `mosaic-lua verify --strategy all`
-- sizes = { batch, batch_shape (a size an axis), heads, kv_heads, d, bytes (of q, k, v), out_bytes }: what
-- one rank's tensors have besides rows.
local attention = require "mosaic.attention"
local check = require "mosaic.check"
local create = require "mosaic.tensor.create"
local folder = require "mosaic.folder"
local hash = require "mosaic.hash"
local state = require "mosaic.state"
local Tensor = require "mosaic.tensor"
local values = require "mosaic.values"

local strategy = {}

local defined, built_in = {}, nil
local HERE = debug.getinfo(1, "S").source:match "^@(.*)init%.lua$"

--- All names, sorted.
function strategy.names()
  if not built_in then
    built_in = {}
    for _, file in ipairs(folder.list(HERE)) do
      local name = file:match "^(.*)%.lua$"
      if name and name ~= "init" then built_in[#built_in + 1] = name end
    end
  end
  local names = { unpack(built_in) }
  for name in pairs(defined) do names[#names + 1] = name end
  table.sort(names)
  return names
end

--- Makes a script's own strategy known by name: a function(comm, q, k, v, plan) -> out, lse, or a
-- table as a strategy's file returns.
function strategy.define(name, body)
  if type(name) ~= "string" then
    check.fail("strategy.define: a name is a string, got %s", check.show(name))
  end
  if type(body) == "function" then body = { attend = body } end
  if type(body) ~= "table" or type(body.attend) ~= "function" then
    check.fail("strategy.define: '%s' needs a function(comm, q, k, v, plan), got %s", name, check.show(body))
  end
  defined[name] = body
  return body
end

local function body_of(name)
  if type(name) == "function" then return { attend = name } end
  return defined[name]
    or require("mosaic.strategy." .. check.one_of("strategy", "strategy", name, strategy.names()))
end

local function show_option(value)
  if type(value) == "table" then
    if Tensor.is(value) then return ("%s #%d"):format(value:describe(), hash.numbers(values.of(value))) end
    return getmetatable(value) and check.show(value) or strategy.describe("", value) -- an object, a list
  end
  return type(value) == "function" and "function" or tostring(value)
end

--- "hierarchical{intra_node_size=4}": the same text for equal strategies, another for other values, those of
-- tensors included. (Of a function nothing is known but that it is one.)
function strategy.describe(name, options)
  local parts, listed = {}, {}
  for i, value in ipairs(options) do listed[i] = show_option(value) end
  for option, value in pairs(options) do
    if not listed[option] then parts[#parts + 1] = ("%s=%s"):format(option, show_option(value)) end
  end
  table.sort(parts)
  for i, text in ipairs(listed) do table.insert(parts, i, text) end
  name = type(name) == "function" and "function" or name
  return #parts > 0 and ("%s{%s}"):format(name, table.concat(parts, ", ")) or name
end

--- The body, approximate where one of its inner strategies is.
local function as_exact_as_inner(body, options)
  for _, inner in ipairs(body.inner and not body.approximate and body.inner(options) or {}) do
    local why = strategy.get(inner).body.approximate
    if why then return setmetatable({ approximate = why }, { __index = body }) end
  end
  return body
end

--- The name (or function) of what is asked for, without looking whether there is such a strategy.
function strategy.name_of(wanted)
  if type(wanted) ~= "table" then return wanted end
  return wanted.body and wanted.name or wanted[1]
end

--- What was asked for, checked: { body, name, options, text }.
function strategy.get(wanted)
  local name, options = wanted, {}
  if type(wanted) == "table" then
    if wanted.body then return wanted end -- resolved before
    for option, value in pairs(wanted) do options[option] = value end
    name, options[1] = wanted[1], nil
  end
  local body = body_of(name)
  local shown = type(name) == "string" and name or "function"
  check.options(("strategy '%s'"):format(shown), options, body.options or {})
  body = as_exact_as_inner(body, options)
  return { body = body, name = shown, options = options, text = strategy.describe(name, options) }
end

--- What one rank's tensors have besides rows.
function strategy.sizes(q, k, v)
  local batch, batch_shape = 1, {}
  for axis = 1, q.ndim - 3 do batch, batch_shape[axis] = batch * q:size(axis), q:size(axis) end
  local bytes = q:element_size()
  return {
    batch = batch, batch_shape = batch_shape,
    heads = q.ndim > 2 and q:size(-3) or 1, kv_heads = k.ndim > 2 and k:size(-3) or 1,
    d = v:size(-1), bytes = bytes, out_bytes = math.max(bytes, 4),
  }
end

local announced = {}

local function announce(wanted, comm)
  local why = wanted.body.approximate
  if not why or announced[why] or comm.rank > 0 then return end -- an inner one has said it for the outer one
  announced[why] = true
  io.stderr:write(("mosaic: strategy '%s' is approximate: %s\n"):format(wanted.name, why))
end

--- As many keys as all ranks have, without values: what a mask is for that has a column for each.
local function all_keys(k, plan)
  local shape, one = k.shape, k.shape
  shape[k.ndim - 1], one[k.ndim - 1] = plan.keys.rows, 1
  one.dtype, one.device = k.dtype, k.device
  return create.empty(one):expand(shape)
end

--- Do the operands fit together? Everything but the numbers of rows is the same on all ranks, and so is the
-- answer. A mask's rows are this rank's, its columns those of all keys.
local function check_fit(q, k, v, plan)
  local whole, own = {}, {}
  for name, entry in pairs(plan.mask) do
    local columns = (name == "keep" or name == "bias") and Tensor.is(entry)
    local list = columns and whole or own
    list[name] = entry
  end
  attention.check(q, k, v, {
    scale = plan.scale, dropout = plan.dropout, head_from = plan.head_from, batch_from = plan.batch_from,
    batch_total = plan.batch_total, mask = own,
  })
  if not next(whole) then return end
  local keys = all_keys(k, plan)
  attention.check(q, keys, keys, { mask = whole })
end

--- Before a strategy runs for a user: fails on every rank where it cannot be exact for this plan, and says
-- once, on rank 0, if it is approximate by nature.
function strategy.check(wanted, q, k, v, plan)
  check_fit(q, k, v, plan)
  local sizes, watcher = strategy.sizes(q, k, v), state.current.plan
  if wanted.body.check then wanted.body.check(plan, sizes) end
  if watcher then watcher.plan, watcher.sizes, watcher.body = plan, sizes, wanted.body end
  announce(wanted, plan.comm)
end

--- Runs a strategy inside another (or attend): the plan, as this strategy is to see it.
function strategy.run(wanted, comm, q, k, v, plan)
  local found = strategy.get(wanted)
  return found.body.attend(comm, q, k, v, plan:with { comm = comm, options = found.options })
end

--- The check of an inner strategy by the outer one's, with the plan that it will see; comm: the outer one's.
function strategy.check_inner(wanted, comm, plan, sizes)
  local found = strategy.get(wanted)
  if found.body.check then found.body.check(plan:with { options = found.options }, sizes) end
  announce(found, comm)
end

--- Bytes that a strategy sends forward, on its own or inside another; nil where it does not say.
function strategy.volume(wanted, plan, sizes)
  local found = strategy.get(wanted)
  return found.body.volume and found.body.volume(plan:with { options = found.options }, sizes)
end

return strategy
