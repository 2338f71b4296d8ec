--- Rows of a sequence by segment and offset: pure arithmetic, for dilated attention.
--
-- Segments of w rows count from 0, and so does the offset of a row: its place in the segment modulo r. The
-- rows of a rank that have a segment and an offset in common are a cell { rows, places, count }: pieces
-- { first, step, count } of global row numbers, and where the rank stores them, from 1.
local cells = {}

local floor, min, max = math.floor, math.min, math.max

local function greatest_divisor(a, b)
  while b > 0 do a, b = b, a % b end
  return a
end

--- Pieces that continue each other as one; { first, step, count, place of the first }.
local function joined(pieces)
  local list, place = {}, 1
  for _, piece in ipairs(pieces) do
    local last = list[#list]
    if last and last[2] == piece[2] and piece[1] == last[1] + last[2] * last[3] then
      last[3] = last[3] + piece[3]
    elseif piece[3] > 0 then
      list[#list + 1] = { piece[1], piece[2], piece[3], place }
    end
    place = place + piece[3]
  end
  return list
end

local function new_cell() return { rows = {}, places = {}, count = 0 } end

local function add(found, m, offset, rows, places)
  found[m] = found[m] or {}
  local cell = found[m][offset] or new_cell()
  found[m][offset] = cell
  cell.rows[#cell.rows + 1], cell.places[#cell.places + 1] = rows, places
  cell.count = cell.count + rows[3]
end

--- The rows i..last (from 0) of a piece, all in segment m, dealt to their offsets.
local function deal(found, piece, m, i, last, w, r)
  local first, step, place = piece[1], piece[2], piece[4]
  local period = r / greatest_divisor(step, r)
  for at = i, min(last, i + period - 1) do
    local row, count = first + at * step, floor((last - at) / period) + 1
    add(found, m, (row - 1 - m * w) % r, { row, step * period, count }, { place + at, period, count })
  end
end

--- found[segment][offset] = cell.
function cells.of(pieces, w, r)
  local found = {}
  for _, piece in ipairs(joined(pieces)) do
    local i = 0
    while i < piece[3] do
      local m = floor((piece[1] - 1 + i * piece[2]) / w)
      local last = min(piece[3] - 1, floor(((m + 1) * w - piece[1]) / piece[2]))
      deal(found, piece, m, i, last, w, r)
      i = last + 1
    end
  end
  return found
end

--- Adds `count` rows of a cell's n-th piece, from row `skip` (from 0) on.
local function add_part(cut, cell, n, skip, count)
  local first, step = unpack(cell.rows[n])
  local place, place_step = unpack(cell.places[n])
  cut.rows[#cut.rows + 1] = { first + skip * step, step, count }
  cut.places[#cut.places + 1] = { place + skip * place_step, place_step, count }
  cut.count = cut.count + count
end

--- The cell's rows within from..to.
function cells.within(cell, from, to)
  local cut = new_cell()
  for n, rows in ipairs(cell.rows) do
    local skip = max(0, math.ceil((from - rows[1]) / rows[2]))
    local count = min(rows[3] - 1, floor((to - rows[1]) / rows[2])) - skip + 1
    if count > 0 then add_part(cut, cell, n, skip, count) end
  end
  return cut
end

--- The cell in cells of at most so many rows.
function cells.cut(cell, most)
  local list, last = {}, { count = most }
  for n, rows in ipairs(cell.rows) do
    local skip = 0
    while skip < rows[3] do
      if last.count == most then
        last = new_cell()
        list[#list + 1] = last
      end
      local count = min(rows[3] - skip, most - last.count)
      add_part(last, cell, n, skip, count)
      skip = skip + count
    end
  end
  return list
end

--- Pieces of rows in order that have whole segments: { first segment, the one after the last, piece }.
local function long_pieces(pieces, w)
  local list = {}
  for _, piece in ipairs(joined(pieces)) do
    local from, to = math.ceil((piece[1] - 1) / w), floor((piece[1] - 1 + piece[3]) / w)
    if piece[2] == 1 and to > from then list[#list + 1] = { from, to, piece } end
  end
  return list
end

--- Runs of segments that a rank has whole and in order: { segment, count, places of the first query and of
-- the first key }.
function cells.whole(q_pieces, k_pieces, w)
  local list, keys = {}, long_pieces(k_pieces, w)
  for _, q in ipairs(long_pieces(q_pieces, w)) do
    for _, k in ipairs(keys) do
      local from, to = max(q[1], k[1]), min(q[2], k[2])
      local function place(piece) return piece[4] + from * w + 1 - piece[1] end
      if to > from then list[#list + 1] = { from, to - from, place(q[3]), place(k[3]) } end
    end
  end
  return list
end

return cells
