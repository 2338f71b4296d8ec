--- Which rows make a segment, and which rank computes it: arithmetic, views, and one exchange of rows.
--
-- Segments have w rows and follow each other from the first row of the sequence. A call may begin in
-- the middle of one, after `open` rows that came before it, and end in the middle of one.
local move = require "mosaic.move"
local partition = require "mosaic.partition"

local segments = {}

--- How many rows of a placement each rank has, when they follow each other in order; nil otherwise.
function segments.lengths(placement)
  local counts, row = {}, 1
  for rank = 0, placement.ranks - 1 do
    counts[rank + 1] = placement:count(rank)
    for _, piece in ipairs(placement:pieces(rank)) do
      if piece[3] > 0 and piece[1] ~= row or piece[3] > 1 and piece[2] ~= 1 then return nil end
      row = row + piece[3]
    end
  end
  return counts
end

--- How many of this call's rows each rank computes, so that every segment is computed as a whole by the
-- rank that has its first new row. counts: how many it brings.
function segments.counts(counts, w, open)
  local starts, row = {}, 0
  for i, count in ipairs(counts) do
    starts[i] = row == 0 and 0 or math.ceil((open + row) / w) * w - open
    row = row + count
  end
  local whole = {}
  for i = 1, #counts do
    whole[i] = math.min(starts[i + 1] or row, row) - math.min(starts[i], row)
  end
  return whole
end

--- How many of a rank's `from` rows are not its own under `to`.
function segments.leaving(from, to, rank)
  local first, at = 0, 0
  for i = 1, rank do first, at = first + from[i], at + to[i] end
  local count = from[rank + 1]
  return count - math.max(0, math.min(first + count, at + to[rank + 1]) - math.max(first, at))
end

--- Rows (axis 3) that lie on the ranks in runs of `from` rows each, in runs of `to` rows instead; wire:
-- the format that they travel in (nil: their own).
function segments.move(comm, x, from, to, wire)
  local same = true
  for i = 1, #from do same = same and from[i] == to[i] end
  if same then return x end
  return move(comm, x, 3, partition.of_counts("infini_attention", from, "contiguous"),
    partition.of_counts("infini_attention", to, "contiguous"), wire)
end

--- Cuts `count` new rows after `open` old ones into groups of equal segments: the rest of the open
-- segment, the whole ones, the beginning of the next one. Each is { segments, rows = new rows of a
-- segment, keys = all its rows, memory = number of its first segment }.
function segments.groups(count, open, w)
  local head = open > 0 and math.min(w - open, count) or 0
  local whole = math.floor((count - head) / w)
  local tail = count - head - whole * w
  local groups = {}
  local function add(number, rows, keys, memory)
    groups[#groups + 1] = { segments = number, rows = rows, keys = keys, memory = memory }
  end
  if head > 0 then add(1, head, open + head, 1) end
  local first = head > 0 and 2 or 1
  if whole > 0 or count == 0 then add(whole, w, w, first) end -- no rows are no segments
  if tail > 0 then add(1, tail, tail, first + whole) end
  return groups
end

--- x (b, heads, n, d) cut into the groups: a list of views (b, segments, heads, rows, d). `which` is
-- "rows" for queries, "keys" for keys and values.
function segments.split(x, groups, which)
  local sizes, b, heads, _, d = {}, unpack(x.shape)
  for i, group in ipairs(groups) do sizes[i] = group.segments * group[which] end
  local parts = x:split(sizes, 3)
  for i, group in ipairs(groups) do
    parts[i] = parts[i]:view(b, heads, group.segments, group[which], d):permute(1, 3, 2, 4, 5)
  end
  return parts
end

--- The whole segments at the start of x (b, heads, n, d): a view (b, segments, heads, w, d).
function segments.whole(x, w)
  local b, heads, rows, d = unpack(x.shape)
  local number = math.floor(rows / w)
  return x:narrow(3, 1, number * w):view(b, heads, number, w, d):permute(1, 3, 2, 4, 5)
end

--- The opposite for one group: (b, segments, heads, rows, d) as (b, heads, segments * rows, d).
function segments.join(x)
  local b, s, heads, rows, d = unpack(x.shape)
  return x:permute(1, 3, 2, 4, 5):reshape(b, heads, s * rows, d)
end

return segments
