--- A rank's rows cut into blocks: pure arithmetic.
--
--   blocks.cut(runs, ratio, apart) -> { runs, cuts, sizes, ends }
--
-- Blocks have `ratio` rows as they are stored, the last one what is left; with `apart` none reaches over a
-- gap in the positions. cuts[i]: how many of the runs' rows were cut together; sizes[i]: how many rows block
-- i has; ends[i]: the position of its last row, where its rows are of one run.
local blocks = {}

--- Does the run go on with this stored row?
local function continues(run, place, position, step)
  return run and run.place + run.count == place and run.step == step
    and run.first + run.count * run.step == position
end

--- The rows with positions first..last of some pieces (placement.lua), as runs of rows that follow each
-- other: { place = in storage, from 1; first, step, count }.
function blocks.runs(pieces, first, last)
  local runs, stored = {}, 0
  for _, piece in ipairs(pieces) do
    local start, step, count = unpack(piece)
    local from = math.max(0, math.ceil((first - start) / step))
    local to = math.min(count - 1, math.floor((last - start) / step))
    local run, place, position = runs[#runs], stored + from + 1, start + from * step
    if from <= to and continues(run, place, position, step) then
      run.count = run.count + to - from + 1
    elseif from <= to then
      runs[#runs + 1] = { place = place, first = position, step = step, count = to - from + 1 }
    end
    stored = stored + count
  end
  return runs
end

--- Cuts `count` rows, the first of which are those of the run.
local function cut_together(found, run, count, ratio)
  found.cuts[#found.cuts + 1] = count
  for at = 1, count, ratio do
    local last = math.min(at + ratio - 1, count)
    found.sizes[#found.sizes + 1] = last - at + 1
    found.ends[#found.ends + 1] = run.first + (math.min(last, run.count) - 1) * run.step
  end
end

function blocks.cut(runs, ratio, apart)
  local found, total = { runs = runs, cuts = {}, sizes = {}, ends = {} }, 0
  for _, run in ipairs(runs) do
    total = total + run.count
    if apart then cut_together(found, run, run.count, ratio) end
  end
  if not apart and total > 0 then cut_together(found, runs[1], total, ratio) end
  return found
end

return blocks
