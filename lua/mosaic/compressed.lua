--- What the strategy `compressed` costs and saves, measured on keys and values of your own.
--
--   local r = mosaic.compressed.report(q, k, v, { strategy = { "compressed", ratio = 8 }, comm = comm })
--   r.max, r.rms             error of out over all ranks: the largest as a share of the largest exact value,
--                            and the root mean square as a share of that of the exact values
--   r.bytes, r.exact_bytes   sent by this rank, forward: compressed, and in a ring
--   r.memory, r.exact_memory bytes of keys and values that this rank attends to: near and pooled, and all
--
-- Every rank calls it; arguments as for mosaic.attend, strategy { "compressed" } by default. Records nothing.
local attend = require "mosaic.attend"
local check = require "mosaic.check"
local context = require "mosaic.context"
local operand = require "mosaic.tensor.operand"
local state = require "mosaic.state"
local strategy = require "mosaic.strategy"
local tape = require "mosaic.autograd.tape"
local Tiers = require "mosaic.tiers"

local compressed = {}

local function with(options, changes)
  local all = {}
  for name, value in pairs(options) do all[name] = value end
  for name, value in pairs(changes) do all[name] = value end
  return all
end

--- attend's result, and the plan and sizes that it made.
local function attend_watched(q, k, v, options)
  local seen = {}
  local out = state.with("plan", seen, "compressed.report", attend, q, k, v, options)
  return out:to "f64", seen
end

--- Largest value and sum of squares of x over all ranks.
local function extent(comm, x)
  local largest = x:numel() > 0 and x:abs():max():item() or 0
  local squares = x:square():sum():item()
  return comm:total(largest, "max"), comm:total(squares)
end

--- What exact attention would be: K/V as they are, in a ring.
local function exact_of(q, k, v, options)
  local exact = with(options, { strategy = "ring" })
  exact.wire = nil
  return attend_watched(q, k, v, exact)
end

local function report(q, k, v, options)
  local out, seen = attend_watched(q, k, v, options)
  local exact, ring = exact_of(q, k, v, options)
  local comm, sizes, tiers = seen.plan.comm, seen.sizes, Tiers(seen.plan)
  local largest, squares = extent(comm, exact)
  local worst, error_squares = extent(comm, out - exact)
  local rows = tiers.near:count(comm.rank) + tiers.far:count(comm.rank)
  local row = 2 * sizes.batch * sizes.kv_heads * sizes.d * sizes.bytes
  return {
    max = largest > 0 and worst / largest or 0, rms = squares > 0 and math.sqrt(error_squares / squares) or 0,
    bytes = seen.body.volume(seen.plan, sizes), exact_bytes = ring.body.volume(ring.plan, sizes),
    memory = rows * row, exact_memory = seen.plan.keys.rows * row,
  }
end

--- See the top of this file.
function compressed.report(q, k, v, options)
  operand("compressed.report", "q", q)
  operand("compressed.report", "k", k)
  operand("compressed.report", "v", v)
  options = with(check.kind("compressed.report", "options", options or {}, "table"), {})
  options.strategy = options.strategy or { "compressed" }
  options.comm = context.comm("compressed.report", options.comm, "sp")
  local wanted = strategy.get(options.strategy)
  if wanted.name ~= "compressed" then
    check.fail("compressed.report: the strategy is 'compressed', got '%s'", wanted.text)
  end
  return tape.no_grad(report, q, k, v, options)
end

return compressed
