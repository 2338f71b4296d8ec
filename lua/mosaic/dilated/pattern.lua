--- What a dilated strategy's table asks for: rates, and which heads go together at each of them.
--
--   pattern.rates(plan, heads, kv_heads) -> { { w, r, groups, alone }, ... }
--
-- A group is what one call of the kernel can do: { offset, q, kv }, where q and kv are pieces { first, step,
-- count } of query heads and their key/value heads, as many of the one for each of the other. Where an
-- offset's heads are not such, each key/value head makes a group. alone: no other rate has these heads.
-- plan.total_heads: how many heads the whole has, where the rank was given a share of them.
local check = require "mosaic.check"
local partition = require "mosaic.partition"
local program = require "mosaic.program"

local pattern = { OPTIONS = { "segments", "rates", "offsets", "heads", "parallel" } }

local SEGMENTS, RATES = { 2048, 8192, 32768 }, { 1, 4, 16 }

local function check_list(name, list)
  check.kind("dilated", name, list, "table")
  if #list == 0 then check.fail("dilated: %s must have a number for each rate, got none", name) end
  for i, number in ipairs(list) do check.integer("dilated", ("%s[%d]"):format(name, i), number, 1) end
end

--- Fails where the table makes no sense for so many heads.
function pattern.check(plan, heads)
  local o = plan.options
  if (o.segments == nil) ~= (o.rates == nil) then
    check.fail("dilated: segments and rates belong together, got only %s", o.rates and "rates" or "segments")
  end
  local segments, rates = o.segments or SEGMENTS, o.rates or RATES
  check_list("segments", segments)
  check_list("rates", rates)
  if #segments ~= #rates then
    check.fail("dilated: segments {%s} and rates {%s} must be equally many", table.concat(segments, ", "),
      table.concat(rates, ", "))
  end
  check.one_of("dilated", "offsets", o.offsets or "modulo", { "modulo", "groups" })
  check.one_of("dilated", "heads", o.heads or "partition", { "partition" })
  check.one_of("dilated", "parallel", o.parallel or "heads", { "heads" })
  if o.heads and #rates > heads then
    check.fail('dilated: heads = "partition" has no head for each of %d rates, only %d', #rates, heads)
  end
  if plan.head_from and not plan.total_heads and (o.heads or o.offsets == "groups") then
    check.fail('dilated: %s needs all heads, but the first one here is number %d: use offsets = "modulo"',
      o.heads and 'heads = "partition"' or 'offsets = "groups"', plan.head_from)
  end
end

--- The heads low..high (numbers in the whole) of an offset: first, step, count.
local function heads_at(offset, r, low, high, by_groups, total)
  local first, step = low + (offset + 1 - low) % r, r
  if by_groups then
    local size = math.ceil(total / r)
    first, step, high = math.max(low, offset * size + 1), 1, math.min(high, (offset + 1) * size)
  end
  return first, step, math.max(0, math.floor((high - first) / step) + 1)
end

--- Query heads by the key/value head that they use: a list of { q, kv }, in pieces.
local function by_kv_head(first, step, count, per_kv)
  local list = {}
  for head = first, first + (count - 1) * step, step do
    local kv, last = math.ceil(head / per_kv), list[#list]
    if last and last.kv[1] == kv then
      last.q[3] = last.q[3] + 1
    else
      list[#list + 1] = { q = { head, step, 1 }, kv = { kv, 1, 1 } }
    end
  end
  return list
end

--- The list as one { q, kv }, or nil where no piece has all of its key/value heads, equally used.
local function united(list)
  local a, b = list[1], list[2]
  local step = b and b.kv[1] - a.kv[1] or 1
  for i, entry in ipairs(list) do
    if entry.q[3] ~= a.q[3] or entry.kv[1] ~= a.kv[1] + (i - 1) * step then return nil end
  end
  return { q = { a.q[1], a.q[2], a.q[3] * #list }, kv = { a.kv[1], step, #list } }
end

--- Each query head for itself.
local function singles(list)
  local result = {}
  for _, entry in ipairs(list) do
    for i = 0, entry.q[3] - 1 do
      result[#result + 1] = { q = { entry.q[1] + i * entry.q[2], 1, 1 }, kv = entry.kv }
    end
  end
  return result
end

--- Does the result depend on the numbers of the heads, which a kernel counts one by one?
local function is_numbered(plan)
  return plan.dropout ~= nil or program.is(plan.mask.keep) or plan.mask.score ~= nil
end

local function groups_at(plan, offset, per_kv, first, step, count)
  local list = by_kv_head(first, step, count, per_kv)
  if step > 1 and is_numbered(plan) then
    list = singles(list)
  elseif #list > 0 then
    local one = united(list)
    list = one and { one } or list
  end
  for _, group in ipairs(list) do group.offset = offset end
  return list
end

--- The heads first..last, counted here from 1, in groups.
local function groups_of(plan, r, low, high, per_kv)
  local o, before, groups = plan.options, (plan.head_from or 1) - 1, {}
  for offset = 0, r - 1 do
    local first, step, count = heads_at(offset, r, low + before, high + before, o.offsets == "groups",
      plan.total_heads)
    for _, group in ipairs(groups_at(plan, offset, per_kv, first - before, step, count)) do
      groups[#groups + 1] = group
    end
  end
  return groups
end

function pattern.rates(plan, heads, kv_heads)
  pattern.check(plan, plan.total_heads or heads)
  local o, list = plan.options, {}
  local rates, before, total = o.rates or RATES, (plan.head_from or 1) - 1, plan.total_heads or heads
  local parts = o.heads and partition.new { rows = total, ranks = #rates }
  for i, w in ipairs(o.segments or SEGMENTS) do
    local low, high = 1, heads
    if parts then
      local first, _, count = unpack(parts:pieces(i - 1)[1])
      low, high = math.max(1, first - before), math.min(heads, first + count - 1 - before)
    end
    local whole = plan:with { total_heads = total }
    list[i] = { w = w, r = rates[i], alone = parts ~= nil or #rates == 1,
      groups = groups_of(whole, rates[i], low, high, heads / kv_heads) }
  end
  return list
end

return pattern
