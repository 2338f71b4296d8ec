--- What verify found, judged against its bounds and as text.
local report = {}

local EXACT = { f64 = 1e-12 } -- of the largest value
local ULPS = 2 ^ -21          -- a few roundings of f32, allowed beside twice the error of one rank
local BYTES = 0.02            -- measured bytes may differ from the formula's by this share
local SMALL = 2 ^ 17          -- bytes; smaller bounds of memory are not judged

--- What one rank may err by for each unit of lse (at least LEAST_LSE), as the roundings of scores grow with
-- scores, and for the root of the terms of a sum in f32. Four times what it does and more (int8: twice): all
-- masks, scales of 0.01 to 100, sums of up to 2,400,000 terms.
local CEILINGS = { f32 = 2 ^ -19, bf16 = 2 ^ -7, f16 = 2 ^ -10, fp8 = 2 ^ -3, int8 = 2 ^ -6 }
local LEAST_LSE, SUM = 6, 2 ^ -22

--- Most that one rank may err by, as a share of the larger of 1 and the largest value: with q, k, v in this
-- dtype, k and v rounded for the wire (nil: not), the largest lse, and the terms of the longest sum.
function report.ceiling(dtype, wire, lse, terms)
  local rounding = math.max(CEILINGS[dtype] or 0, CEILINGS[wire] or 0)
  return EXACT[dtype] or rounding * math.max(LEAST_LSE, lse) + SUM * math.sqrt(terms)
end

--- Judges a tensor by its error, the error of one rank and the ceiling for that, shares of the largest value.
-- The bound is twice the error of one rank; one that is beyond its ceiling is wrong, and widens nothing.
function report.entry(name, dtype, error, one_rank, ceiling)
  local bound = EXACT[dtype] or math.min(2 * one_rank + ULPS, ceiling)
  return {
    name = name, dtype = dtype, error = error, bound = bound, one_rank = one_rank, ceiling = ceiling,
    ok = error <= bound and one_rank <= ceiling,
  }
end

local function extremes(ranks, name)
  local low, high, sum = math.huge, -math.huge, 0
  for _, rank in ipairs(ranks) do
    low, high, sum = math.min(low, rank[name]), math.max(high, rank[name]), sum + rank[name]
  end
  return low, high, sum / #ranks
end

--- Do measured and predicted bytes agree on every rank? nil where the strategy predicts nothing.
local function bytes_agree(ranks)
  for _, rank in ipairs(ranks) do
    if rank.predicted < 0 then return nil end
    if not (math.abs(rank.bytes - rank.predicted) <= BYTES * rank.predicted) then return false end
  end
  return true
end

--- Does every rank stay within the memory that the strategy promises? nil where it promises nothing, or the
-- shards are so small that what does not grow with them counts.
local function memory_fits(ranks)
  for _, rank in ipairs(ranks) do
    if rank.room < SMALL then return nil end
    if rank.peak > rank.room then return false end
  end
  return true
end

--- "1,234,567"
local function thousands(number)
  local text = ("%d"):format(number)
  return (text:reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", ""))
end

local function range(ranks, name)
  local low, high = extremes(ranks, name)
  if low == high then return thousands(low) end
  return ("%s to %s"):format(thousands(low), thousands(high))
end

local function verdict(fine)
  return fine == nil and "" or fine and "ok" or "OUT OF BOUNDS"
end

--- found = { title, errors = { what report.entry returns, ... }, ranks = { { bytes, predicted, peak, work,
-- room }, ... } or nil, off = { max, rms } of an answer that is not exact by nature, or nil,
-- balance = the largest share by which work may exceed the mean, or nil }.
-- Sets found.imbalance, found.bytes_ok, found.memory_ok, found.balance_ok and found.ok.
function report.judge(found)
  if found.ranks then
    local _, most, mean = extremes(found.ranks, "work")
    found.imbalance = mean > 0 and most / mean - 1 or 0
    found.bytes_ok, found.memory_ok = bytes_agree(found.ranks), memory_fits(found.ranks)
  end
  if found.balance then found.balance_ok = found.imbalance <= found.balance end
  found.ok = found.bytes_ok ~= false and found.balance_ok ~= false and found.memory_ok ~= false
  for _, entry in ipairs(found.errors) do found.ok = found.ok and entry.ok end
  return found
end

local function add_costs(lines, found)
  local ranks = found.ranks
  lines[#lines + 1] = ("  bytes sent by a rank, forward   %s; formula %s  %s"):format(range(ranks, "bytes"),
    ranks[1].predicted < 0 and "none" or range(ranks, "predicted"), verdict(found.bytes_ok))
  lines[#lines + 1] = ("  pairs worked on by a rank       %s; the busiest %.1f %% over the mean  %s"):format(
    range(ranks, "work"), 100 * found.imbalance, verdict(found.balance_ok))
  lines[#lines + 1] = ("  most bytes held by a rank       %s%s  %s"):format(range(ranks, "peak"),
    ranks[1].room < 0 and "" or "; bound " .. range(ranks, "room"), verdict(found.memory_ok))
end

local function entry_text(entry)
  local text = ("  %-6s %-5s error %.1e, bound %.1e  %s"):format(entry.name, entry.dtype, entry.error,
    entry.bound, verdict(entry.ok))
  if entry.one_rank <= entry.ceiling then return text end
  return ("%s: ONE RANK ERRS BY %.1e, ceiling %.1e"):format(text, entry.one_rank, entry.ceiling)
end

function report.text(found)
  local lines = { found.title }
  for _, entry in ipairs(found.errors) do lines[#lines + 1] = entry_text(entry) end
  if found.off then
    lines[#lines + 1] = ("  out differs from exact attention by %.1e of its largest value, rms %.1e"):format(
      found.off.max, found.off.rms)
  end
  if found.ranks then add_costs(lines, found) end
  lines[#lines + 1] = found.ok and "  within bounds" or "  OUT OF BOUNDS"
  return table.concat(lines, "\n")
end

return report
